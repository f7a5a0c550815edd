//! `relay`: limits of the machine or of the operator, and a graceful end.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use serde_json::Value;

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
fn what_is_still_open_after_the_drain_is_reset_and_has_its_receipt() {
    let host = Host::tcp();
    let options = ["--drain", "200ms", "--verbose", "--receipt", "json"];
    let relay = Relay::to(&host.address(), &options);
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"question").unwrap();
    target.read_exactly(8);
    target.write_all(b"yes").unwrap();
    client.read_exactly(3);
    let outcome = relay.stop();
    let receipt: Value = serde_json::from_str(outcome.text()).unwrap();
    assert_eq!(receipt["ended"], "cut", "{receipt}");
    assert_eq!(receipt["complete"], false, "{receipt}");
    for (way, bytes) in [("up", 8), ("down", 3)] {
        assert_eq!(receipt[way]["bytes"], bytes, "{receipt}");
        assert_eq!(receipt[way]["unacknowledged"], 0, "{receipt}");
    }
    let cut = "cut off after 8 bytes up, 3 bytes down";
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!((outcome.code, lines.len()), (3, 2), "{outcome:?}");
    assert!(
        lines[0].ends_with(&format!("{}: {cut}", client.name())),
        "{lines:?}"
    );
    assert!(lines[1].contains("1 connection still busy"), "{lines:?}");
    assert!(lines[1].ends_with(cut), "{lines:?}");
    for mut side in [client, target] {
        assert_eq!(side.drain().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}

#[test]
fn a_second_signal_ends_at_once_and_says_what_it_cut_off() {
    let host = Host::tcp();
    let mut relay = Relay::to(&host.address(), &["--receipt", "json"]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"question").unwrap();
    target.read_exactly(8);
    relay.running.signal(Signal::TERM);
    let line = relay.running.line();
    assert!(line.ends_with("Ctrl-C ends at once"), "{line}");
    relay.running.signal(Signal::INT);
    let outcome = relay.running.finish();
    let cut =
        "stopped at once: 1 connection still busy, and cut off after 8 bytes up, 0 bytes down";
    let outcome = outcome.fails(130, &[cut]);
    let receipt: Value = serde_json::from_str(outcome.text()).unwrap();
    assert_eq!(receipt["ended"], "cut", "{receipt}");
}

/// A target that reads nothing has the bytes in its queue; more wait in the relay and before it.
#[test]
fn what_was_not_delivered_when_a_connection_was_cut_off_is_told() {
    /// How often no byte can be sent in a row until nothing moves any more.
    const STILL: usize = 20;
    let host = Host::tcp();
    let options = ["--drain", "200ms", "--receipt", "json", "--threads", "1"];
    let relay = Relay::to(&host.address(), &options);
    let (mut client, _target) = (relay.connect(), host.accept());
    let (mut sent, mut same) = (0, 0);
    while same < STILL {
        relay.running.await_sleep();
        let count = client.fill();
        same = if count == 0 { same + 1 } else { 0 };
        sent += count;
    }
    let outcome = relay.stop();
    let receipt: Value = serde_json::from_str(outcome.text()).unwrap();
    outcome.fails(3, &["cut off after ", " bytes up, 0 bytes down"]);
    let up = &receipt["up"];
    let [bytes, undelivered, unacknowledged] =
        ["bytes", "undelivered", "unacknowledged"].map(|name| up[name].as_u64().unwrap());
    assert_eq!(receipt["ended"], "cut", "{receipt}");
    assert!(bytes > 0 && bytes < sent as u64, "{sent}: {receipt}");
    assert!(undelivered + unacknowledged > 0, "{receipt}");
}

#[test]
fn a_connection_that_is_cut_off_before_it_named_its_client_is_told() {
    let host = Host::tcp();
    let options = [
        "--drain",
        "200ms",
        "--verbose",
        "--accept-proxy",
        "127.0.0.1",
    ];
    let metrics = ["--metrics", "127.0.0.1:0"];
    let mut relay = Relay::to(&host.address(), &[&options[..], &metrics].concat());
    let mut metrics = relay.metrics();
    let client = relay.connect();
    metrics.await_more_than("underpass_relay_connections_open", 0);
    drop(metrics);
    let name = client.name();
    let outcome = relay.stop();
    let lines: Vec<_> = outcome.stderr.lines().collect();
    assert_eq!((outcome.code, lines.len()), (3, 2), "{outcome:?}");
    let cut = format!("{name}: cut off before it named its client");
    assert!(lines[0].ends_with(&cut), "{lines:?}");
    assert!(
        lines[1].ends_with("cut off after 0 bytes up, 0 bytes down"),
        "{lines:?}"
    );
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
