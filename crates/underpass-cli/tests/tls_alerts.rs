//! A peer that breaks the rules of TLS after the handshake hears why, though it goes on sending:
//! closing a socket with unread bytes would reset the connection.

use crate::support::{Certs, Dir, FanOut, Host, MIB, Relay, Running, bytes, underpass};

/// Sends `content` and then nonsense to the port in `line`; it must be told what was wrong.
#[track_caller]
fn hears(certs: &Certs<'_>, line: &str, content: &str) {
    let (_, place) = line.split_once("tls://").unwrap();
    let (_, port) = place.split_once(':').unwrap();
    let port = port.split(|it: char| !it.is_ascii_digit()).next().unwrap();
    let outcome = certs.sender(port, content, "wrong").finish().ok();
    assert_eq!(outcome.text(), "told SSLV3_ALERT_BAD_RECORD_MAC\n");
}

const TOLD: &str = "TLS: a record was changed";

#[test]
fn recv_says_what_was_wrong() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let content = dir.file("in", &bytes(95, MIB));
    let server = certs.server("server");
    let server = server.each_ref().map(String::as_str);
    let args = [&["recv", "tls://localhost:0", "/dev/null"], &server[..]];
    let mut recv = Running::start(underpass(&args.concat()));
    let line = recv.line();
    hears(&certs, &line, &content);
    recv.finish().fails(1, &[TOLD, "1,048,576 bytes"]);
}

#[test]
fn a_relay_says_what_was_wrong() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let content = dir.file("in", &bytes(96, MIB));
    let server = certs.server("server");
    let server = server.each_ref().map(String::as_str);
    let target = Host::tcp();
    let place = target.address().trim_start_matches("tcp://").to_owned();
    let relay = Relay::between("tls://localhost:0", &place, &server);
    let at_target = std::thread::spawn(move || target.accept().drain());
    hears(&certs, &relay.line, &content);
    let drained = at_target.join().unwrap();
    assert!(drained.is_err(), "a part looks like the whole: {drained:?}");
    relay.stop().ok();
}

#[test]
fn a_fan_out_says_what_was_wrong() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let (content, nothing) = (dir.file("in", &bytes(97, MIB)), dir.file("nothing", b""));
    let server = certs.server("server");
    let server = server.each_ref().map(String::as_str);

    let alone = [&["--alone=discard"], &server[..]].concat();
    let fan_out = FanOut::from("tls://localhost:0", &alone);
    hears(&certs, &fan_out.line, &content);
    fan_out.running.finish().fails(3, &["broke off", TOLD]);

    let listen = [&["--listen=tls://localhost:0"], &alone[..]].concat();
    let (fan_out, source) = FanOut::piped(&listen);
    hears(&certs, &fan_out.addresses[1], &nothing);
    drop(source);
    fan_out.running.finish().fails(3, &["1 of 1 subscriber"]);
}
