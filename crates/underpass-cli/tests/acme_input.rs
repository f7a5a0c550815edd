//! `serve --acme` with what cannot be right: names, ACME servers, challenges, directories.

use crate::support::{
    Authority, BLOCKED_NAME, DAYS_90, Dir, Node, Pebble, Running, Server, has_pebble, run, serial,
    unprivileged,
};

#[test]
fn a_challenge_that_fails_is_reported_with_its_reason() {
    if !has_pebble() {
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
    assert_eq!(serial(name, &node.address()), "");
    node.server.stop().ok();
}

#[test]
fn names_that_lead_nowhere_are_tried_again() {
    if !has_pebble() {
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
    if !has_pebble() {
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
    run(&[&serve[..], &["--acme-state", &state, &ca]].concat())
        .fails(1, &["--acme-ca", &file, "PEM"]);
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

#[test]
fn an_acme_server_that_refuses_is_reported_with_its_reason() {
    if !has_pebble() {
        return;
    }
    let (pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    let (name, address) = (BLOCKED_NAME, pebble.tls_address());
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[]);
    let line = node.line();
    for word in [
        "no certificate for blocked.example.test: the ACME server refused: ",
        "(rejectedIdentifier); next attempt in ",
    ] {
        assert!(line.contains(word), "{word:?} in {line}");
    }
    assert_eq!(node.last_error(name, "refused"), 1);
    node.server.stop().ok();
}

#[test]
fn an_acme_server_that_is_not_trusted_or_not_there_is_reported() {
    if !has_pebble() {
        return;
    }
    let (mut pebble, dir) = (Pebble::start(DAYS_90), Dir::in_memory());
    let (name, address) = ("away.example.test", pebble.tls_address());
    let other = Authority::new("another");
    let trusted = format!("--acme-ca={}", other.file);
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[&trusted]);
    let line = node.line();
    assert!(
        line.contains("no authority that is believed (--acme-ca "),
        "{line}"
    );
    assert_eq!(node.last_error(name, "unreachable"), 1);
    node.server.stop().ok();
    pebble.stop();
    let mut node = Node::start((&pebble, &dir), name, &address, true, &[]);
    let line = node.line();
    assert!(
        line.contains("cannot be asked: ") && line.contains("refused"),
        "{line}"
    );
    node.server.stop().ok();
}
