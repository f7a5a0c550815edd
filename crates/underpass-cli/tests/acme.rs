//! `serve --acme`: certificates from pebble, which checks challenges as real ACME servers do.

use std::process::Command;

use crate::support::{
    Authority, DAYS_90, Dir, Metrics, Pebble, Reply, Running, Server, curl, mode, needs, run,
    underpass, unprivileged,
};

fn can_run() -> bool {
    ["pebble", "pebble-challtestsrv", "curl"]
        .into_iter()
        .all(needs::tool)
}

/// A server that gets certificates.
struct Node {
    server: Server,
    metrics: Metrics,
}

impl Node {
    /// Starts one for `name`. With `waiting`, it has no certificate yet, and says so.
    fn start(at: (&Pebble, &Dir), name: &str, listen: &str, waiting: bool, more: &[&str]) -> Self {
        let (pebble, dir) = at;
        let options = pebble.options(name, &dir.path("state"));
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let usual = ["serve", dir.root(), "--listen", listen, "--threads=1"];
        let metrics = ["--metrics=127.0.0.1:0"];
        let mut server = Server::of(underpass(&[&usual[..], &options, &metrics, more].concat()));
        let mut line = server.running.line();
        if waiting {
            assert!(line.contains("there is no certificate yet for"), "{line}");
            line = server.running.line();
        }
        if line.contains("redirecting") {
            line = server.running.line();
        }
        let metrics = Metrics::of(&line);
        Self { server, metrics }
    }

    fn line(&mut self) -> String {
        self.server.running.line()
    }

    fn await_certificate(&mut self, name: &str) {
        let line = self.line();
        let wanted = format!("underpass: got the certificate for {name}, valid until ");
        assert!(line.starts_with(&wanted), "{line}");
    }

    fn count(&mut self, what: &str, name: &str) -> u64 {
        self.metrics
            .sample(&format!("underpass_acme_{what}_total{{name=\"{name}\"}}"))
    }

    fn last_error(&mut self, name: &str, reason: &str) -> u64 {
        let labels = format!("name=\"{name}\",reason=\"{reason}\"");
        self.metrics
            .sample(&format!("underpass_acme_last_error{{{labels}}}"))
    }
}

/// Asks for `https://NAME/a` at `address`.
fn get(name: &str, address: &str, root: &str) -> Reply {
    let connect = format!("::{address}");
    let url = format!("https://{name}/a");
    curl(&["--cacert", root, "--connect-to", &connect, &url])
}

/// The serial number of the certificate for `name` at `address`.
fn serial(name: &str, address: &str) -> String {
    let script = "openssl s_client -connect \"$0\" -servername \"$1\" </dev/null 2>/dev/null \
                  | openssl x509 -noout -serial";
    let shown = Command::new("sh")
        .args(["-c", script, address, name])
        .output()
        .unwrap();
    String::from_utf8(shown.stdout).unwrap()
}

/// The serial number of the certificate in a file.
fn serial_in(file: &str) -> String {
    let shown = Command::new("openssl")
        .args(["x509", "-noout", "-serial", "-in", file])
        .output()
        .unwrap();
    let serial = String::from_utf8(shown.stdout).unwrap();
    assert!(serial.starts_with("serial="), "{serial}");
    serial
}

fn files(pebble: &Pebble, dir: &Dir) -> String {
    let host = &pebble.address;
    dir.path(&format!("state/{host}-14000-dir"))
}

#[test]
fn a_certificate_comes_by_tls_alpn_and_outlives_restarts() {
    if !can_run() {
        return;
    }
    let (mut pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    dir.file("a", b"content");
    let (name, address) = ("www.example.test", pebble.tls_address());
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[]);
    node.await_certificate(name);
    let root = pebble.root();
    assert_eq!(get(name, &address, &root).text(), "content");
    assert_eq!(
        (node.count("renewals", name), node.count("failures", name)),
        (1, 0)
    );
    let files = files(&pebble, &dir);
    for file in ["account.json", &format!("{name}.pem")] {
        assert_eq!(mode(&format!("{files}/{file}")), 0o600, "{file}");
    }
    assert_eq!(mode(&files), 0o700);
    let left = std::fs::read_dir(format!("{files}/challenges"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
    node.server.stop().ok();
    // The ACME server is not needed any more.
    pebble.stop();
    let mut node = Node::start((&pebble, &dir), name, &address, false, &[]);
    assert_eq!(get(name, &address, &root).text(), "content");
    assert_eq!(
        (node.count("renewals", name), node.count("failures", name)),
        (0, 0)
    );
    node.server.stop().ok();
}

#[test]
fn a_certificate_comes_by_http() {
    if !can_run() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    dir.file("a", b"content");
    let name = "http.example.test";
    // Not where the ACME server looks for TLS.
    let (address, plain) = (format!("{}:0", pebble.address), pebble.http_address());
    let redirect = format!("--redirect-http={plain}");
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[&redirect]);
    node.await_certificate(name);
    let address = node.server.url.strip_prefix("https://").unwrap();
    let address = address.trim_end_matches('/').to_owned();
    assert_eq!(get(name, &address, &pebble.root()).text(), "content");
    let other = format!("http://{plain}/.well-known/acme-challenge/other");
    assert_eq!(curl(&[&other]).status, 301);
    node.server.stop().ok();
}

#[test]
fn certificates_are_renewed_while_the_server_runs() {
    if !can_run() {
        return;
    }
    let (mut pebble, dir) = (Pebble::start(6), Dir::in_memory());
    let (name, address) = ("short.example.test", pebble.tls_address());
    // It may ask while the ACME server is started again.
    let soon = ["--acme-retry=10ms"];
    let mut node = Node::start((&pebble, &dir), name, &address, true, &soon);
    node.await_certificate(name);
    let first = serial(name, &address);
    assert!(first.starts_with("serial="), "{first}");
    let line = node.line();
    assert!(line.contains("renewed the certificate for"), "{line}");
    assert_ne!(serial(name, &address), first);
    // An ACME server that has forgotten the account gets a new one.
    pebble.start_again();
    let renewals = node.count("renewals", name);
    let samples = format!("underpass_acme_renewals_total{{name=\"{name}\"}}");
    node.metrics.await_more_than(&samples, renewals);
    node.server.stop().ok();
}

#[test]
fn the_old_certificate_stays_if_the_acme_server_is_gone() {
    if !can_run() {
        return;
    }
    let (mut pebble, dir) = (Pebble::start(8), Dir::in_memory());
    dir.file("a", b"content");
    let (name, address) = ("gone.example.test", pebble.tls_address());
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[]);
    node.await_certificate(name);
    pebble.stop();
    let mut line = node.line();
    // It may have been renewed before.
    while line.contains("renewed the certificate") {
        line = node.line();
    }
    for word in [
        "the certificate for gone.example.test was not renewed: ",
        "cannot be asked: ",
        "refused",
        "the old one is valid until ",
        "next attempt in ",
    ] {
        assert!(line.contains(word), "{word:?} in {line}");
    }
    assert_eq!(node.last_error(name, "unreachable"), 1);
    let kept = format!("{}/{name}.pem", files(&pebble, &dir));
    assert_eq!(serial(name, &address), serial_in(&kept));
    node.server.stop().ok();
}

#[test]
fn servers_share_a_directory() {
    if !can_run() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    dir.file("a", b"content");
    let (ours, theirs) = ("one.example.test", "two.example.test");
    let reached = pebble.tls_address();
    let mut one = Node::start((&pebble, &dir), ours, &reached, true, &[]);
    one.await_certificate(ours);
    // The ACME server does not reach the one that asks, but the other one.
    let elsewhere = format!("{}:0", pebble.address);
    let mut two = Node::start((&pebble, &dir), theirs, &elsewhere, true, &[]);
    two.await_certificate(theirs);
    // A third one has nothing to ask for.
    let listen = format!("{}:6000", pebble.address);
    let mut three = Node::start((&pebble, &dir), ours, &listen, false, &[]);
    assert_eq!(get(ours, &listen, &pebble.root()).text(), "content");
    assert_eq!(serial(ours, &listen), serial(ours, &reached));
    assert_eq!(three.count("renewals", ours), 0);
    for node in [one, two, three] {
        node.server.stop().ok();
    }
}

#[test]
fn one_of_several_servers_gets_the_certificate() {
    if !can_run() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    dir.file("a", b"content");
    let (name, reached) = ("both.example.test", pebble.tls_address());
    let other = format!("{}:6000", pebble.address);
    let mut nodes =
        [&reached, &other].map(|listen| Node::start((&pebble, &dir), name, listen, true, &[]));
    let days = format!("underpass_acme_days_left{{name=\"{name}\"}}");
    for node in &mut nodes {
        node.metrics.await_sample(&days);
    }
    let got: u64 = nodes.iter_mut().map(|it| it.count("renewals", name)).sum();
    assert_eq!(got, 1);
    assert_eq!(serial(name, &other), serial(name, &reached));
    for node in nodes {
        node.server.stop().ok();
    }
}

#[test]
fn a_challenge_that_fails_is_reported_with_its_reason() {
    if !can_run() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    let name = "lost.example.test";
    // Nothing is where the ACME server looks.
    let elsewhere = format!("{}:0", pebble.address);
    let mut node = Node::start((&pebble, &dir), name, &elsewhere, true, &[]);
    let line = node.line();
    for word in [
        "no certificate for lost.example.test: tls-alpn-01: ",
        "could not check that the name leads here: ",
        "Failed to connect to ",
        "next attempt in ",
    ] {
        assert!(line.contains(word), "{word:?} in {line}");
    }
    assert_eq!(node.last_error(name, "challenge"), 1);
    assert_eq!(node.count("failures", name), 1);
    // Without a certificate there is no TLS, and nothing in its place.
    let address = node.server.url.strip_prefix("https://").unwrap();
    assert_eq!(serial(name, address.trim_end_matches('/')), "");
    node.server.stop().ok();
}

#[test]
fn names_that_lead_nowhere_are_tried_again() {
    if !can_run() {
        return;
    }
    let (mut pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    pebble.stop_dns();
    let (name, address) = ("nowhere.example.test", pebble.tls_address());
    let soon = ["--acme-retry=10ms"];
    let mut node = Node::start((&pebble, &dir), name, &address, true, &soon);
    for _ in 0..2 {
        let line = node.line();
        assert!(
            line.contains("no certificate for nowhere.example.test: "),
            "{line}"
        );
    }
    node.server.stop().ok();
}

#[test]
fn what_is_no_acme_server_is_reported() {
    if !can_run() {
        return;
    }
    let dir = Dir::in_memory();
    let authority = Authority::new("authority");
    let pair = authority.pair("site", &["127.0.0.1"]);
    dir.file("page", b"<html>");
    let other = Server::start(&dir, &pair.options());
    for (path, words) in [
        ("page", "is no ACME server"),
        ("missing", "it answered 404 Not Found"),
    ] {
        let directory = format!("--acme-directory={}{path}", other.url);
        let ca = format!("--acme-ca={}", authority.file);
        let state = dir.path("state");
        let options = ["--acme=a.test", "--acme-state", &state, &directory, &ca];
        let mut server = Server::start(&dir, &options);
        let _ = server.running.line();
        let line = server.running.line();
        assert!(line.contains(words), "{line}");
        server.stop().ok();
    }
    other.stop().ok();
}

#[test]
fn options_that_cannot_be_right_are_refused() {
    let dir = Dir::in_memory();
    let (state, file) = (dir.path("state"), dir.file("file", b""));
    let acme = "--acme=a.test";
    let usage: [&[&str]; 6] = [
        &[acme],
        &["--acme=*.a.test", "--acme-state", &state],
        &["--acme=192.0.2.1", "--acme-state", &state],
        &[acme, "--acme-state", &state, "--acme-directory=http://a/"],
        &[acme, "--acme-state", &state, "--tls-self-signed"],
        &["--acme-state", &state],
    ];
    for options in usage {
        let outcome = run(&[&["serve", dir.root()], options].concat());
        assert_eq!(outcome.code, 2, "{options:?}: {}", outcome.stderr);
    }
    let serve = ["serve", dir.root(), "--listen=127.0.0.1:0", acme];
    run(&[&serve[..], &["--acme-state", &file]].concat()).fails(1, &["--acme-state", &file]);
    let ca = format!("--acme-ca={file}");
    run(&[&serve[..], &["--acme-state", &state, &ca]].concat()).fails(1, &[&file, "CERTIFICATE"]);
    let forbidden = Dir::in_memory();
    let options = ["--acme-state", forbidden.root()];
    if let Some(command) =
        unprivileged(&[&["serve", "/", "--listen=127.0.0.1:0", acme], &options[..]].concat())
    {
        Running::start(command)
            .finish()
            .fails(1, &["--acme-state", forbidden.root(), "ermission denied"]);
    }
}
