//! `relay`: limits of the machine or of the operator, and a graceful end.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};

use crate::support::{Dir, Host, MIB, Relay, Running, bytes, needs, without_pipes};

#[test]
fn connections_beyond_the_descriptors_wait_for_their_turn() {
    if !needs::tool("prlimit") {
        return;
    }
    let host = Host::tcp();
    let relay = Relay::limited(
        "--nofile=40:40",
        &host.address(),
        &["--max-connections", "1000", "--threads", "1"],
    );
    let mut clients: Vec<_> = (0..60).map(|_| relay.connect()).collect();
    for client in &mut clients {
        client.write_all(b"?").unwrap();
        client.end();
    }
    // They are served in turn, each when others have left.
    for _ in 0..60 {
        let mut target = host.accept();
        assert_eq!(target.read_exactly(1), b"?");
        target.write_all(b"!").unwrap();
        target.end();
        target.read_to_end(&mut Vec::new()).ok();
    }
    for mut client in clients {
        assert_eq!(client.read_all(), b"!");
    }
    relay.stop().ok();
}

#[test]
fn pitfall_13_without_pipes_bulk_is_copied_and_counted() {
    let (dir, host) = (Dir::new(), Host::tcp());
    let args = ["relay", "--listen", "127.0.0.1:0", "--to", &host.address()];
    let Some(command) = without_pipes(&dir, &[&args[..], &["--receipt", "json"]].concat()) else {
        return;
    };
    let relay = Relay::of(Running::start(command));
    let (mut client, mut target) = (relay.connect(), host.accept());
    let content = bytes(440, 8 * MIB);
    let sending = std::thread::spawn({
        let content = content.clone();
        move || {
            client.write_all(&content).unwrap();
            client.end();
            client.read_all()
        }
    });
    assert!(target.read_all() == content);
    target.end();
    sending.join().unwrap();
    let outcome = relay.stop().ok();
    let receipt: serde_json::Value = serde_json::from_str(outcome.text()).unwrap();
    let up = &receipt["up"];
    assert!(up["pipes_refused"].as_u64().unwrap() > 0, "{receipt}");
    assert_eq!(up["routes"][0]["route"], "read-write", "{receipt}");
    assert_eq!(up["bytes"], 8 * MIB, "{receipt}");
}

#[test]
fn five_thousand_idle_connections_fit_into_64_mib() {
    const CONNECTIONS: usize = 5000;
    let limit = getrlimit(Resource::Nofile).maximum;
    if limit.is_some_and(|limit| limit < 3 * CONNECTIONS as u64) {
        needs::lacking("too few files may be open for 5,000 connections");
        return;
    }
    let raised = Rlimit {
        current: limit,
        maximum: limit,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let dir = Dir::new();
    let (place, path) = (dir.path("target"), dir.path("listen"));
    let listener = UnixListener::bind(&place).unwrap();
    let relay = Relay::between(&format!("unix:{path}"), &format!("unix:{place}"), &[]);
    let pairs: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let mut client = UnixStream::connect(&path).unwrap();
            let (mut target, _) = listener.accept().unwrap();
            // Each connection has been used, so that memory which is kept after use is counted too.
            client.write_all(b"used").unwrap();
            target.write_all(b"used").unwrap();
            client.read_exact(&mut [0; 4]).unwrap();
            target.read_exact(&mut [0; 4]).unwrap();
            (client, target)
        })
        .collect();
    let resident = relay.running.resident();
    println!(
        "{CONNECTIONS} idle connections: {} KiB resident",
        resident >> 10
    );
    // With its code it is below 64 MiB.
    assert!(resident < 48 << 20, "{resident} bytes");
    drop(pairs);
    relay.stop().ok();
}

#[test]
fn sigterm_lets_connections_end_and_takes_no_more() {
    let host = Host::tcp();
    let mut relay = Relay::to(&host.address(), &[]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"before").unwrap();
    target.read_exactly(6);
    relay.running.signal(Signal::TERM);
    let line = relay.running.line();
    assert!(
        line.contains("waiting up to 30 s for connections (1)"),
        "{line}"
    );
    let refused = std::net::TcpStream::connect(relay.place()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    client.write_all(b"after").unwrap();
    client.end();
    assert_eq!(target.read_all(), b"after");
    target.end();
    assert_eq!(client.read_all(), b"");
    relay.running.finish().ok();
}

#[test]
fn what_is_still_open_after_the_drain_is_reset() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--drain", "200ms"]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"x").unwrap();
    target.read_exactly(1);
    relay
        .stop()
        .fails(3, &["1 connection still busy", "cut off"]);
    for mut side in [client, target] {
        assert_eq!(side.drain().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn more_connections_than_allowed_wait() {
    let host = Host::tcp();
    let relay = Relay::to(
        &host.address(),
        &["--max-connections", "1", "--threads", "1"],
    );
    let (mut first, mut target) = (relay.connect(), host.accept());
    let mut second = relay.connect();
    second.write_all(b"second").unwrap();
    first.write_all(b"first").unwrap();
    assert_eq!(target.read_exactly(5), b"first");
    drop((first, target));
    assert_eq!(host.accept().read_exactly(6), b"second");
    drop(second);
    relay.stop().ok();
}
