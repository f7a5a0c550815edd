//! `serve --acme`: certificates from pebble, which checks challenges as real ACME servers do.

use crate::support::{
    Authority, DAYS_90, Dir, Node, Pebble, RenewalInfo, acme_files, curl, get, has_pebble, mode,
    needs, serial, serial_in,
};

#[test]
fn a_certificate_comes_by_tls_alpn_and_outlives_restarts() {
    if !has_pebble() {
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
    let files = acme_files(&pebble, &dir);
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
    if !has_pebble() {
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
    let address = node.address();
    assert_eq!(get(name, &address, &pebble.root()).text(), "content");
    let other = format!("http://{plain}/.well-known/acme-challenge/other");
    assert_eq!(curl(&[&other]).status, 301);
    node.server.stop().ok();
}

#[test]
fn certificates_are_renewed_while_the_server_runs() {
    if !has_pebble() {
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
    if !has_pebble() {
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
    let kept = format!("{}/{name}.pem", acme_files(&pebble, &dir));
    assert_eq!(serial(name, &address), serial_in(&kept));
    node.server.stop().ok();
}

#[test]
fn clients_without_certificates_do_not_keep_it_from_being_checked() {
    if !has_pebble() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    let (name, address) = ("mutual.example.test", pebble.tls_address());
    let clients = Authority::new("of clients");
    let asked = format!("--tls-client-ca={}", clients.file);
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[&asked]);
    node.await_certificate(name);
    assert!(serial(name, &address).starts_with("serial="));
    node.server.stop().ok();
}

#[test]
fn the_acme_server_says_when_to_renew() {
    renew_when_told(true, &[false, true]);
}

#[test]
fn an_acme_server_that_forgets_what_is_replaced_is_asked_without() {
    renew_when_told(false, &[false, true, false]);
}

/// `replacing` are the orders, and whether they say which certificate they replace.
fn renew_when_told(echoes: bool, replacing: &[bool]) {
    if !has_pebble() || !needs::tool("python3") {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    let info = RenewalInfo::start(&pebble, echoes);
    let (name, address) = ("told.example.test", pebble.tls_address());
    let directory = format!("--acme-directory={}", info.directory());
    info.suggest(50);
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[&directory]);
    node.await_certificate(name);
    let days = "underpass_acme_days_until_renewal";
    let planned = format!("{days}{{name=\"{name}\",by=\"acme-server\"}} 50.");
    node.metrics.await_sample(&planned);
    node.server.stop().ok();
    let first = serial_in(&info.certificate(&dir, name));
    info.suggest(-1);
    let mut node = Node::start((&pebble, &dir), name, &address, false, &[&directory]);
    let line = node.line();
    assert!(
        line.contains("renewed the certificate for told.example.test"),
        "{line}"
    );
    assert_ne!(serial(name, &address), first);
    let orders = info.orders();
    let replaces = orders.iter().map(|order| order.contains("replaces"));
    assert_eq!(replaces.collect::<Vec<_>>(), replacing, "{orders:?}");
    node.server.stop().ok();
}
