//! HTTPS: certificates are read again at SIGHUP and when they change, and a wrong pair changes
//! nothing.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::{Authority, Dir, Secured, curl, needs};

/// Replaces `path` by a copy of `by`, whole.
fn replace(path: &str, by: &str) {
    let new = format!("{path}.new");
    std::fs::copy(by, &new).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn await_line(it: &mut Secured, words: &[&str]) {
    let line = it.server.running.line();
    for word in words {
        assert!(line.contains(word), "{line}");
    }
}

#[test]
fn pitfall_46_a_pair_that_does_not_match_changes_nothing() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = Dir::in_memory();
    let mut it = Secured::start(&dir, &[]);
    let other = it.authority.pair("other", &["localhost"]);
    assert_eq!(it.subject("localhost"), "site");
    replace(&it.pair.certificate, &other.certificate);
    // Nobody has asked: the files have changed.
    await_line(
        &mut it,
        &["does not belong", "previous certificates stay in use"],
    );
    assert_eq!(it.subject("localhost"), "site");
    replace(&it.pair.key, &other.key);
    await_line(&mut it, &["certificates and keys are read again"]);
    assert_eq!(it.subject("localhost"), "other");
    it.server.stop().ok();
}

#[test]
fn a_hangup_reads_certificates_again() {
    if !needs::tool("openssl") {
        return;
    }
    let dir = Dir::in_memory();
    let mut it = Secured::start(&dir, &[]);
    it.server.running.signal(Signal::HUP);
    await_line(&mut it, &["certificates and keys are read again"]);
    std::fs::write(&it.pair.key, b"").unwrap();
    it.server.running.signal(Signal::HUP);
    await_line(&mut it, &["is empty", "previous certificates stay in use"]);
    assert_eq!(it.subject("localhost"), "site");
    let old = it.authority.expired_pair("site", &["localhost"]);
    assert_eq!(old.key, it.pair.key);
    it.server.running.signal(Signal::HUP);
    await_line(&mut it, &["expired at 2020"]);
    await_line(&mut it, &["certificates and keys are read again"]);
    it.server.stop().ok();
}

#[test]
fn authorities_of_clients_are_read_again() {
    if !needs::tool("curl") || !needs::tool("openssl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let [before, after] = [&old, &new].map(|it| it.pair("client", &["client"]));
    let ca = dir.file("clients", &std::fs::read(&old.file).unwrap());
    let mut it = Secured::start(&dir, &["--tls-client-ca", &ca]);
    let shown = [
        "--cert",
        &before.certificate,
        "--key",
        &before.key,
        &it.url("a"),
    ];
    assert_eq!(it.curl(&shown).text(), "content");
    replace(&ca, &new.file);
    it.server.running.signal(Signal::HUP);
    await_line(&mut it, &["read again"]);
    let shown = [
        "--cert",
        &after.certificate,
        "--key",
        &after.key,
        &it.url("a"),
    ];
    assert_eq!(it.curl(&shown).text(), "content");
    it.openssl(&["-cert", &before.certificate, "-key", &before.key], b"");
    it.await_failed("certificate-rejected", 1);
    it.server.stop().ok();
}

/// Connections that begin while certificates are replaced get one of them, and none fails.
#[test]
fn no_connection_fails_while_certificates_are_read() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut it = Secured::start(&dir, &[]);
    let (ca, url) = (it.authority.file.clone(), it.url("a"));
    let (stop, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert_eq!(curl(&["--cacert", &ca, &url]).text(), "content");
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..10 {
            let before = served.load(Ordering::Relaxed);
            it.authority.pair("site", &["localhost", "127.0.0.1"]);
            it.server.running.signal(Signal::HUP);
            await_line(&mut it, &["certificates and keys are read again"]);
            while served.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert!(served.load(Ordering::Relaxed) >= 10);
    it.server.stop().ok();
}

/// A key that never comes does not keep the server from stopping.
#[test]
fn a_fifo_that_nobody_writes() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let it = Secured::start(&dir, &[]);
    std::fs::remove_file(&it.pair.key).unwrap();
    let key = it.pair.key.as_str();
    rustix::fs::mkfifoat(rustix::fs::CWD, key, rustix::fs::Mode::RWXU).unwrap();
    it.server.running.signal(Signal::HUP);
    // As soon as it is open, it is being read.
    let writer = std::fs::OpenOptions::new().write(true).open(key).unwrap();
    assert_eq!(it.curl(&[&it.url("a")]).text(), "content");
    it.server.stop().ok();
    drop(writer);
}
