//! The state directory of `serve --acme`: shared by several servers, damaged, and left behind.

use std::net::TcpListener;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::support::{Authority, DAYS_90, Dir, Node, Pebble, acme_files, get, has_pebble, serial};

#[test]
fn servers_share_a_directory() {
    if !has_pebble() {
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
    if !has_pebble() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    dir.file("a", b"content");
    let (name, reached) = ("both.example.test", pebble.tls_address());
    let other = format!("{}:6000", pebble.address);
    let mut nodes =
        [&reached, &other].map(|listen| Node::start((&pebble, &dir), name, listen, None, &[]));
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
fn a_killed_server_keeps_no_other_from_asking() {
    let Some(mut shared) = Shared::new("killed.example.test", 1) else {
        return;
    };
    shared.one.server.running.signal(Signal::KILL);
    drop(shared.silent);
    shared.two.await_certificate(shared.name);
    let (address, root) = (shared.two.address(), shared.pebble.root());
    assert_eq!(get(shared.name, &address, &root).text(), "content");
    shared.two.server.stop().ok();
}

#[test]
fn a_server_that_waits_takes_the_certificate_of_the_other() {
    let Some(mut shared) = Shared::new("taken.example.test", 0) else {
        return;
    };
    drop(shared.silent);
    shared.one.server.running.signal(Signal::CONT);
    shared.one.await_certificate(shared.name);
    let line = shared.two.line();
    let words = "took the certificate for taken.example.test that another server got, valid until ";
    assert!(line.contains(words), "{line}");
    assert_eq!(shared.two.count("renewals", shared.name), 0);
    let addresses = [shared.one.address(), shared.two.address()];
    let serials = addresses.map(|address| serial(shared.name, &address));
    assert!(
        serials[0].starts_with("serial=") && serials[0] == serials[1],
        "{serials:?}"
    );
    shared.one.server.stop().ok();
    shared.two.server.stop().ok();
}

/// Two servers of which one has asked for a certificate and then was stopped, with the lock in its
/// hands. The other one waits.
struct Shared {
    name: &'static str,
    one: Node,
    two: Node,
    /// Instead of a server, this is what the ACME server reaches by TLS. It never answers.
    silent: TcpListener,
    pebble: Pebble,
    _dir: Dir,
}

impl Shared {
    /// The ACME server reaches that with this number by plain HTTP.
    fn new(name: &'static str, reached: usize) -> Option<Self> {
        if !has_pebble() {
            return None;
        }
        let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
        dir.file("a", b"content");
        let elsewhere = format!("{}:0", pebble.address);
        let silent = TcpListener::bind(pebble.tls_address()).unwrap();
        let redirect = format!("--redirect-http={}", pebble.http_address());
        let mut options: [&[&str]; 2] = [&[], &[]];
        let redirect = [redirect.as_str()];
        options[reached] = &redirect;
        let one = Node::start((&pebble, &dir), name, &elsewhere, true, options[0]);
        await_client(&silent);
        one.server.running.signal(Signal::STOP);
        let mut two = Node::start((&pebble, &dir), name, &elsewhere, true, options[1]);
        let line = two.line();
        assert!(
            line.contains("another server on this state directory"),
            "{line}"
        );
        Some(Self {
            name,
            one,
            two,
            silent,
            pebble,
            _dir: dir,
        })
    }
}

/// Waits until somebody connects.
fn await_client(listener: &TcpListener) {
    let mut readable = [PollFd::new(listener, PollFlags::IN)];
    let patience = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    assert_eq!(poll(&mut readable, Some(&patience)), Ok(1));
}

#[test]
fn damaged_files_are_reported_in_one_line_and_replaced() {
    if !has_pebble() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    let (name, address) = ("damaged.example.test", pebble.tls_address());
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[]);
    node.await_certificate(name);
    node.server.stop().ok();
    let files = acme_files(&pebble, &dir);
    let (certificate, account) = (
        format!("{files}/{name}.pem"),
        format!("{files}/account.json"),
    );
    let (pem, json) = (read(&certificate), read(&account));
    let secrets = [secret(&pem), secret(&json)];
    let another = Authority::new("another");
    let other = another.pair("other", &["other.example.test"]);
    let other = read(&other.key) + &read(&other.certificate);
    let no_key = json.replace(&secret(&json), "AAAA");
    let in_the_first = &pem[..pem.find("BEGIN CERT").unwrap() + 100];
    let damages: [(&str, &str, &str); 6] = [
        (&certificate, "", "damaged.example.test.pem: "),
        (&certificate, in_the_first, "damaged.example.test.pem: "),
        (&certificate, &other, "the certificate is for another name"),
        (&account, "", "account.json is no ACME account (line "),
        (
            &account,
            &json[..json.len() / 2],
            "account.json is no ACME account (line ",
        ),
        (&account, &no_key, "account.json is no ACME account ("),
    ];
    for (file, content, words) in damages {
        std::fs::write(file, content).unwrap();
        let of_account = file == account;
        if of_account {
            std::fs::remove_file(&certificate).unwrap();
        }
        let mut node = Node::start((&pebble, &dir), name, &address, of_account, &["-v"]);
        let line = node.line();
        assert!(line.contains(words), "{line}");
        node.await_certificate(name);
        assert!(serial(name, &address).starts_with("serial="));
        let said = format!("{line}{}", node.server.stop().stderr);
        for secret in &secrets {
            assert!(!said.contains(secret), "{said}");
        }
        assert_ne!(read(file), content);
    }
    assert_eq!(read(&format!("{files}/account.old.json")), no_key);
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// A part of a private key, as a file of the state directory has it.
fn secret(content: &str) -> String {
    let from = content
        .find("MIGHAgEA")
        .or_else(|| content.find("MIG"))
        .unwrap();
    content[from..from + 40].to_owned()
}

#[test]
fn an_expired_certificate_is_replaced() {
    if !has_pebble() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    dir.file("a", b"content");
    let (name, address) = ("expired.example.test", pebble.tls_address());
    let files = acme_files(&pebble, &dir);
    std::fs::create_dir_all(&files).unwrap();
    let another = Authority::new("another");
    let old = another.expired_pair("old", &[name]);
    let old = read(&old.key) + &read(&old.certificate);
    std::fs::write(format!("{files}/{name}.pem"), old).unwrap();
    let mut node = Node::start((&pebble, &dir), name, &address, false, &[]);
    let line = node.line();
    let words = "the certificate for expired.example.test has expired at 2020-01-02T00:00:00";
    assert!(line.contains(words), "{line}");
    let line = node.line();
    assert!(
        line.contains("renewed the certificate for expired.example.test"),
        "{line}"
    );
    assert_eq!(get(name, &address, &pebble.root()).text(), "content");
    node.server.stop().ok();
}
