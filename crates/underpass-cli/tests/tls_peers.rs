//! Peers of `send`, `recv`, `relay` and `fan-out` that are no TLS, or only a part of it: each ends
//! with a line, none gets a byte in plain text, and whoever comes after it is served. For `serve`
//! this is in `https_peers`.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use crate::support::{
    Certs, Dir, FanOut, REFUSING_TCP_ULP, Relay, Running, needs, run, underpass, underpass_by,
};

const CONTENT: &[u8] = b"what nobody may see in plain text";

/// What is sent before the end of TCP, and the words about it.
const BROKEN: [(&[u8], &str); 6] = [
    (b"", "closed the connection"),
    (b"\x16", "closed the connection"),
    // The beginning of a record that a ClientHello of 512 bytes would be in.
    (
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "closed the connection",
    ),
    (b"\0garbage\xff\xff\xff\xff", "not TLS"),
    (b"GET / HTTP/1.1\r\n\r\n", "plain HTTP"),
    // A whole record that is no message of a handshake.
    (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "handshake failed"),
];

/// Connects to `tls://HOST:PORT…`, sends `bytes` and the end, and returns what came back.
fn answer(address: &str, bytes: &[u8]) -> Vec<u8> {
    let place = address.trim_start_matches("tls://");
    let place = place.split('#').next().unwrap();
    let mut peer = TcpStream::connect(place).unwrap();
    peer.set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    peer.write_all(bytes).unwrap();
    // It may be gone already.
    let _ = peer.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    // A reset ends it, too.
    let _ = peer.read_to_end(&mut answer);
    answer
}

/// Each broken peer gets nothing, or an alert; `line` is what is said of it.
#[track_caller]
fn refuses_all(address: &str, mut line: impl FnMut() -> String) {
    for (bytes, words) in BROKEN {
        let answer = answer(address, bytes);
        assert!(
            answer.is_empty() || answer[0] == 21,
            "{bytes:?}: {answer:?}"
        );
        let line = line();
        assert!(line.contains("TLS handshake failed"), "{bytes:?}: {line}");
        assert!(line.contains(words), "{bytes:?}: {line}");
    }
}

#[test]
fn recv_goes_on_listening() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("in", CONTENT), dir.path("out"));
    let (mut recv, address) = Running::recv(&["tls://127.0.0.1:0", &sink]);
    refuses_all(&address, || {
        let line = recv.line();
        assert!(line.contains("still listening"), "{line}");
        line
    });
    run(&["send", &source, &address]).ok();
    recv.finish().ok();
    assert_eq!(std::fs::read(&sink).unwrap(), CONTENT);
}

#[test]
fn a_relay_goes_on_and_its_target_sees_nothing() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("in", CONTENT), dir.path("out"));
    let (target, to) = Running::recv(&["tcp://127.0.0.1:0", &sink]);
    let mut relay = Relay::between("tls://127.0.0.1:0", &to, &["--verbose"]);
    let address = relay.line.split(' ').nth(2).unwrap().to_owned();
    refuses_all(&address, || relay.running.line());
    run(&["send", &source, &address]).ok();
    target.finish().ok();
    relay.stop().ok();
    assert_eq!(std::fs::read(&sink).unwrap(), CONTENT);
}

#[test]
fn a_fan_out_goes_on() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("in", CONTENT), dir.path("out"));
    let args = [
        "fan-out",
        "--listen=tls://127.0.0.1:0",
        "--verbose",
        "--from",
        &source,
    ];
    let mut fan_out = FanOut::of(Running::start(underpass(&args)));
    let address = fan_out.addresses[0].clone();
    refuses_all(&address, || fan_out.running.line());
    run(&["recv", "--connect", &address, &sink]).ok();
    fan_out.stop();
    assert_eq!(std::fs::read(&sink).unwrap(), CONTENT);
}

#[test]
fn a_fan_out_goes_on_waiting_for_its_producer() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("in", CONTENT), dir.path("out"));
    let args = [
        "fan-out",
        "--listen=127.0.0.1:0",
        "--from=tls://127.0.0.1:0",
        "--await=1",
    ];
    let mut fan_out = FanOut::of(Running::start(underpass(&args)));
    let producer = fan_out.producer().to_owned();
    let at = fan_out.addresses[0].clone();
    let subscriber = Running::start(underpass(&["recv", "--connect", &at, &sink]));
    refuses_all(&producer, || fan_out.running.line());
    run(&["send", &source, &producer]).ok();
    subscriber.finish().ok();
    fan_out.running.finish().ok();
    assert_eq!(std::fs::read(&sink).unwrap(), CONTENT);
}

/// A server that answers a ClientHello with `bytes` and the end, once. Gives what it was sent.
fn broken_server(bytes: &'static [u8]) -> (String, std::thread::JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("tls://{}", listener.local_addr().unwrap());
    let serving = std::thread::spawn(move || {
        let mut peer = listener.accept().unwrap().0;
        peer.set_read_timeout(Some(Duration::from_secs(60)))
            .unwrap();
        let mut sent = vec![0; 5];
        peer.read_exact(&mut sent).unwrap();
        peer.write_all(bytes).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        // A reset ends it, too.
        let _ = peer.read_to_end(&mut sent);
        sent
    });
    (address, serving)
}

#[track_caller]
fn saw_no_plain_text(sent: &[u8]) {
    assert_eq!(sent[..2], [22, 3], "a ClientHello: {sent:?}");
    let has_content = sent.windows(CONTENT.len()).any(|part| part == CONTENT);
    assert!(!has_content, "plain text: {sent:?}");
}

#[test]
fn send_and_recv_give_a_broken_server_nothing() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("in", CONTENT), dir.path("out"));
    for (bytes, words) in BROKEN {
        for (before, after) in [
            (&["send", &source][..], &[][..]),
            (&["recv", "--connect"], &[&*sink]),
        ] {
            let (address, serving) = broken_server(bytes);
            let args = [before, &[&address], after].concat();
            let outcome = run(&args);
            let code = outcome.code;
            assert!(code == 1 || code == 3, "{bytes:?}: {outcome:?}");
            outcome.fails(code, &["TLS handshake failed", words]);
            saw_no_plain_text(&serving.join().unwrap());
            assert!(!std::path::Path::new(&sink).exists());
        }
    }
}

#[test]
fn a_relay_gives_a_broken_server_nothing() {
    for (bytes, words) in BROKEN {
        let (address, serving) = broken_server(bytes);
        let mut relay = Relay::between("127.0.0.1:0", &address, &["--verbose"]);
        let mut client = relay.connect();
        client.write_all(CONTENT).unwrap();
        let line = relay.running.line();
        assert!(
            line.contains("handshake failed") && line.contains(words),
            "{line}"
        );
        client
            .drain()
            .expect_err("a reset, since there was no answer");
        saw_no_plain_text(&serving.join().unwrap());
        relay.stop().ok();
    }
}

/// Who connects and does not believe the server: its certificate has expired, is for another name,
/// or nobody known has signed it.
#[test]
fn every_client_says_why_it_does_not_believe() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    certs.not_believed();
    let (ca, sink) = (certs.ca(), dir.path("out"));
    for (name, words) in [
        ("elsewhere", "is for elsewhere.example, not for localhost"),
        ("expired", "has expired"),
        ("unknown", "--tls-ca FILE"),
    ] {
        let (peer, port) = certs.receiver(name, "close");
        let at = format!("tls://localhost:{port}");
        run(&["recv", "--connect", &at, &sink, "--tls-ca", &ca]).fails(1, &[words]);
        drop(peer);
        let (peer, port) = certs.receiver(name, "close");
        let to = format!("tls://localhost:{port}");
        let mut relay = Relay::between("127.0.0.1:0", &to, &["--verbose", "--tls-ca", &ca]);
        let mut client = relay.connect();
        let line = relay.running.line();
        assert!(line.contains(words), "{line}");
        let _ = client.drain();
        drop(peer);
        relay.stop().ok();
    }
}

/// A policy that keeps a process from the kernel's TLS: it encrypts itself, and says why.
#[test]
fn a_policy_against_tcp_ulp_keeps_no_server_from_tls() {
    if !needs::tool("python3") {
        return;
    }
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("in", CONTENT), dir.path("out"));
    let reason = "the kernel has no TLS: EPERM";
    let start =
        |args: &[&str]| Running::start(underpass_by("python3", &["-c", REFUSING_TCP_ULP], args));

    let args = [
        "fan-out",
        "--listen=tls://127.0.0.1:0",
        "--receipt=json",
        "--from",
        &source,
    ];
    let fan_out = FanOut::of(start(&args));
    run(&["recv", "--connect", &fan_out.addresses[0], &sink]).ok();
    let outcome = fan_out.stop();
    assert!(outcome.text().contains(reason), "{outcome:?}");
    assert_eq!(std::fs::read(&sink).unwrap(), CONTENT);

    let args = ["tcp://127.0.0.1:0", &sink, "--force"];
    let (target, to) = Running::recv(&args);
    let args = [
        "relay",
        "--listen=tls://127.0.0.1:0",
        "--to",
        &to,
        "--receipt=json",
    ];
    let relay = Relay::of(start(&args));
    let address = relay.line.split(' ').nth(2).unwrap().to_owned();
    run(&["send", &source, &address]).ok();
    target.finish().ok();
    let outcome = relay.stop().ok();
    assert!(outcome.text().contains(reason), "{outcome:?}");
    assert_eq!(std::fs::read(&sink).unwrap(), CONTENT);
}
