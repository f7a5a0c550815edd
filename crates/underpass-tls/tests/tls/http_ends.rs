//! HTTPS connections that the server ends: the client hears that it was the server, and why, in
//! both versions of HTTP.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use underpass_http::{Limits, Timeouts};

use crate::http::Server;
use crate::support::{Peer, is_kernel_required, peer_client_config};

const LONG: Duration = Duration::from_secs(3600);
/// Handshakes have to be complete within it.
const SHORT: Duration = Duration::from_secs(4);

const REQUEST: &[u8] = b"GET /small HTTP/1.1\r\nhost: localhost\r\n\r\n";
const HALF_A_HEAD: &[u8] = b"GET /small HTTP/1.1\r\nhos";

/// What a client of HTTP/2 begins with: the preface, and SETTINGS without a setting.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// HEADERS without END_HEADERS: `:method: GET`.
const HALF_HEADERS: &[u8] = b"\0\0\x01\x01\0\0\0\0\x01\x82";
/// HEADERS of a POST whose body follows: `:method: POST, :scheme: https, :path: /`, and an
/// `:authority`.
const POST_HEADERS: &[u8] = b"\0\0\x07\x01\x04\0\0\0\x01\x83\x87\x84\x41\x02it";

#[derive(Clone, Copy, Debug)]
enum Version {
    Http1,
    Http2,
}

use Version::{Http1, Http2};

fn server(configure: impl FnOnce(&mut Limits, &mut Timeouts)) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("small"), "small").unwrap();
    let (mut limits, mut timeouts) = (Limits::default(), Timeouts::default());
    (timeouts.head, timeouts.keep_alive) = (LONG, LONG);
    configure(&mut limits, &mut timeouts);
    let server = Server::configured(dir.path(), limits, timeouts);
    (dir, server)
}

fn client(server: &Server, version: Version) -> Peer {
    let socket = TcpStream::connect(server.address).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    let mut config = peer_client_config(None);
    if let Http2 = version {
        config.alpn_protocols = vec![b"h2".to_vec()];
    }
    Peer::with(socket, config, "localhost").unwrap()
}

/// One whose first request was answered, or whose settings were.
fn used(server: &Server, version: Version) -> Peer {
    let mut peer = client(server, version);
    match version {
        Http1 => {
            peer.send(REQUEST);
            until(&mut peer, b"\r\n\r\nsmall");
        }
        Http2 => {
            peer.send(PREFACE);
            // The server's acknowledgement.
            until(&mut peer, b"\0\0\0\x04\x01\0\0\0\0");
        }
    }
    peer
}

/// Receives up to `end`.
fn until(peer: &mut Peer, end: &[u8]) {
    let mut got = Vec::new();
    while !got.windows(end.len()).any(|part| part == end) {
        let mut part = [0; 1024];
        let count = peer.receive(&mut part).unwrap();
        assert!(count > 0, "it ended: {got:?}");
        got.extend_from_slice(&part[..count]);
    }
}

/// The stream ends by close_notify; in HTTP/2, after a GOAWAY without an error.
fn ends_in_order(mut peer: Peer, version: Version) {
    let rest = peer.receive_all().unwrap();
    match version {
        Http1 => assert_eq!(rest, b""),
        Http2 => {
            let goaway = rest
                .windows(17)
                .rev()
                .find(|it| it[..5] == *b"\0\0\x08\x07\0");
            assert_eq!(goaway.expect("a GOAWAY")[13..], [0; 4], "{rest:?}");
        }
    }
}

#[test]
fn a_connection_without_another_request_ends_by_close_notify() {
    let (_dir, server) = server(|_, timeouts| timeouts.keep_alive = Duration::from_millis(50));
    for version in [Http1, Http2] {
        ends_in_order(used(&server, version), version);
    }
}

/// Also when the transport was put to rest meanwhile.
#[test]
fn a_resting_connection_answers_and_ends_by_close_notify() {
    let resting = Duration::from_millis(1500);
    let (_dir, server) = server(|_, timeouts| timeouts.keep_alive = resting);
    let mut peer = used(&server, Http1);
    std::thread::sleep(Duration::from_millis(1100));
    peer.send(REQUEST);
    until(&mut peer, b"\r\n\r\nsmall");
    ends_in_order(peer, Http1);
}

#[test]
fn a_head_that_is_never_complete_ends_by_close_notify() {
    let (_dir, server) = server(|_, timeouts| timeouts.head = SHORT);
    let mut waiting = Vec::new();
    for (version, half) in [(Http1, HALF_A_HEAD), (Http2, HALF_HEADERS)] {
        let mut fresh = client(&server, version);
        if let Http2 = version {
            fresh.send(PREFACE);
        }
        let mut later = used(&server, version);
        for peer in [&mut fresh, &mut later] {
            peer.send(half);
        }
        waiting.extend([(fresh, version), (later, version)]);
    }
    // Who says nothing at all, too.
    waiting.push((client(&server, Http1), Http1));
    for (peer, version) in waiting {
        ends_in_order(peer, version);
    }
}

#[test]
fn a_server_that_stops_says_close_notify() {
    let (_dir, server) = server(|_, _| ());
    let used = [Http1, Http2].map(|version| (used(&server, version), version));
    let silent = (client(&server, Http1), Http1);
    let ends = std::thread::spawn(move || {
        for (peer, version) in used.into_iter().chain([silent]) {
            ends_in_order(peer, version);
        }
    });
    drop(server);
    ends.join().unwrap();
}

#[test]
fn a_connection_that_makes_room_says_close_notify() {
    for version in [Http1, Http2] {
        let (_dir, server) = server(|limits, _| limits.connections = 1);
        let first = used(&server, version);
        let _second = used(&server, version);
        ends_in_order(first, version);
    }
}

/// What is left of a response is never taken for all of it.
#[test]
fn a_response_that_is_cut_does_not_end_by_close_notify() {
    let (dir, server) = server(|_, timeouts| timeouts.send = Duration::from_millis(100));
    std::fs::write(dir.path().join("large"), vec![1; 40 << 20]).unwrap();
    let mut peer = client(&server, Http1);
    peer.send(b"GET /large HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let timed_out = || server.stats.connections_timed_out.get();
    while timed_out() == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(peer.receive_all().is_err());
}

/// A reset would take the alert away from a client that is still sending.
#[test]
fn who_breaks_the_rules_after_a_request_has_begun_hears_why() {
    let (_dir, server) = server(|_, _| ());
    for (version, begin) in [
        (Http1, &[HALF_A_HEAD][..]),
        (Http1, &[REQUEST, HALF_A_HEAD]),
        (Http2, &[PREFACE]),
        (Http2, &[PREFACE, POST_HEADERS]),
    ] {
        let mut peer = client(&server, version);
        for part in begin {
            peer.send(part);
        }
        // A record that nobody has sealed, and more behind it.
        let mut broken = b"\x17\x03\x03\0\x20".to_vec();
        broken.resize(50_000, 0xaa);
        peer.socket.write_all(&broken).unwrap();
        let error = peer.receive_all().unwrap_err().to_string();
        // Of the kernel, what is behind the record cannot be read, and closing may reset.
        assert!(
            error.contains("BadRecordMac") || is_kernel_required(),
            "{version:?} {}: {error}",
            begin.len()
        );
    }
}
