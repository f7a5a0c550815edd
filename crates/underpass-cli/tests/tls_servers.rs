//! `relay` and `fan-out` over TLS.

use std::process::Stdio;

use serde_json::Value;

use crate::support::{
    Certs, Dir, FanOut, Host, MIB, Relay, Running, Stream, assert_bytes, by, bytes, run, underpass,
};

const LENGTH: usize = 6 * MIB + 99;

/// A relay's address, with the fingerprint of the key that it has made.
fn pinned(relay: &Relay) -> String {
    let place = relay.line.split(' ').nth(2).unwrap();
    assert!(
        place.starts_with("tls://") && place.contains("#sha256-"),
        "{}",
        relay.line
    );
    place.to_owned()
}

fn received(sink: &str) -> (Running, String) {
    let mut receiver = Running::start(underpass(&["recv", "tcp://127.0.0.1:0", sink, "--force"]));
    let line = receiver.line();
    let (_, address) = line.split_once("listening on ").unwrap();
    (
        receiver,
        address.trim().trim_start_matches("tcp://").to_owned(),
    )
}

/// Ends TLS: a client's, for a target that has none.
#[test]
fn a_relay_ends_tls() {
    let dir = Dir::in_memory();
    let content = bytes(91, LENGTH);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let (receiver, to) = received(&sink);
    let options = [
        "--listen",
        "tls://127.0.0.1:0",
        "--to",
        &to,
        "--receipt",
        "json",
    ];
    let relay = Relay::start(&options);
    run(&["send", &source, &pinned(&relay)]).ok();
    receiver.finish().ok();
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
    let receipts = relay.receipts();
    let receipt = &receipts[0];
    assert_eq!(
        (&receipt["complete"], &receipt["ended"]),
        (&true.into(), &"closed".into())
    );
    assert_eq!(receipt["up"]["bytes"], LENGTH as u64);
    assert_eq!(
        receipt["up"]["crypto"]["cpu_bytes"], LENGTH as u64,
        "{receipt}"
    );
    assert_eq!(receipt["far"]["tls"], Value::Null);
    assert_mode(receipt, "near", "up");
}

/// In the kernel it splices, in this process it copies.
fn assert_mode(receipt: &Value, side: &str, direction: &str) {
    let direction = &receipt[direction];
    let spliced = by(direction, "splice");
    match receipt[side]["tls"]["mode"].as_str().unwrap() {
        "kernel" => assert!(spliced > LENGTH as u64 / 2, "{receipt}"),
        _ => assert_eq!(spliced, 0, "{receipt}"),
    }
}

/// Begins TLS: for a client that has none.
#[test]
fn a_relay_begins_tls() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let content = bytes(92, LENGTH);
    let source = dir.file("in", &content);
    let (peer, port) = certs.receiver("server", "close");
    let to = format!("tls://localhost:{port}");
    let ca = certs.ca();
    let relay = Relay::to(&to, &["--tls-ca", &ca, "--receipt", "json"]);
    run(&["send", &source, relay.place()]).ok();
    peer.finish().ok();
    assert_bytes(&certs.received(), &content);
    let receipts = relay.receipts();
    assert_eq!(receipts[0]["complete"], true);
    assert_mode(&receipts[0], "far", "up");
}

/// Both directions, one relay behind another: plain, TLS, plain.
#[test]
fn answers_come_back_through_two_relays() {
    let target = Host::tcp();
    let inner = Relay::between(
        "tls://127.0.0.1:0",
        target.address().trim_start_matches("tcp://"),
        &[],
    );
    let to = pinned(&inner);
    for route in [&[][..], &["--route=read-write"]] {
        let outer = Relay::to(&to, route);
        let mut client = outer.connect();
        let content = bytes(93, LENGTH);
        let (sent, answer) = content.split_at(LENGTH / 3);
        std::thread::scope(|scope| {
            let mut at_target = {
                std::io::Write::write_all(&mut client, &sent[..1]).unwrap();
                target.accept()
            };
            let mut sending = client.try_clone();
            scope.spawn(move || {
                std::io::Write::write_all(&mut sending, &sent[1..]).unwrap();
                sending.end();
            });
            assert_bytes(&at_target.read_all(), sent);
            // The half-close came through; the answer still goes.
            let mut answering = at_target;
            scope.spawn(move || {
                std::io::Write::write_all(&mut answering, answer).unwrap();
                answering.end();
            });
            assert_bytes(&client.read_all(), answer);
        });
        outer.stop().ok();
    }
    inner.stop().ok();
}

#[test]
fn a_client_that_is_cut_resets_its_target() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let source = dir.file("in", &bytes(94, MIB));
    let target = Host::tcp();
    let place = target.address().trim_start_matches("tcp://").to_owned();
    let server = certs.server("server");
    let mut options = vec![
        "--listen",
        "tls://localhost:0",
        "--to",
        &place,
        "--receipt=json",
    ];
    options.extend(server.iter().map(String::as_str));
    let relay = Relay::start(&options);
    let port = relay
        .line
        .split(' ')
        .nth(2)
        .unwrap()
        .rsplit(':')
        .next()
        .unwrap()
        .to_owned();
    let peer = certs.sender(&port, &source, "cut");
    let mut at_target = target.accept();
    let drained = at_target.drain();
    assert!(drained.is_err(), "a part looks like the whole: {drained:?}");
    peer.finish();
    let receipts = relay.receipts();
    let receipt = &receipts[0];
    assert_eq!(
        (&receipt["ended"], &receipt["by"]),
        (&"reset".into(), &"near".into()),
        "{receipt}"
    );
    assert_eq!(receipt["errno"], "TLS_CUT", "{receipt}");
    assert_eq!(receipt["complete"], false);
}

#[test]
fn what_is_no_tls_reaches_no_target() {
    let target = Host::tcp();
    let place = target.address().trim_start_matches("tcp://").to_owned();
    let options = ["--verbose", "--metrics=127.0.0.1:0"];
    let mut relay = Relay::between("tls://127.0.0.1:0", &place, &options);
    let mut metrics = relay.metrics();
    let at = pinned(&relay);
    let at = at.trim_start_matches("tls://").split('#').next().unwrap();
    let mut client = Stream::connect(&format!("tcp://{at}"));
    std::io::Write::write_all(&mut client, b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let _ = client.drain();
    let line = relay.running.line();
    assert!(line.contains("TLS handshake failed"), "{line}");
    metrics.await_more_than("underpass_relay_handshakes_failed_total", 0);
    relay.stop().ok();
}

fn subscribed(addresses: &[String], sinks: &[String]) -> Vec<Running> {
    let subscribers = sinks.iter().enumerate().map(|(at, sink)| {
        let address = &addresses[at % addresses.len()];
        Running::start(underpass(&["recv", "--connect", address, sink]))
    });
    subscribers.collect()
}

/// The addresses of a fan-out, as `recv --connect` takes them.
fn places(fan_out: &FanOut) -> Vec<String> {
    let places = fan_out.addresses.iter();
    places
        .map(|place| place.trim_start_matches("tcp://").to_owned())
        .collect()
}

#[test]
fn subscribers_with_and_without_tls_get_a_file() {
    let dir = Dir::in_memory();
    let content = bytes(95, LENGTH);
    let source = dir.file("in", &content);
    let options = [
        "--listen=tls://127.0.0.1:0",
        "--listen=127.0.0.1:0",
        "--from",
        &source,
    ];
    let fan_out = FanOut::of(Running::start(underpass(
        &[&["fan-out", "--receipt=json"], &options[..]].concat(),
    )));
    let sinks: Vec<_> = (0..4).map(|at| dir.path(&format!("out{at}"))).collect();
    for subscriber in subscribed(&places(&fan_out), &sinks) {
        subscriber.finish().ok();
    }
    for sink in &sinks {
        assert_bytes(&std::fs::read(sink).unwrap(), &content);
    }
    let outcome = fan_out.stop();
    for line in outcome.ok().text().lines() {
        let receipt: Value = serde_json::from_str(line).unwrap();
        let want = match receipt["sink"]["tls"]["mode"].as_str() {
            Some("user") => "seal",
            _ => "sendfile",
        };
        assert_eq!(
            (&receipt["route"], &receipt["complete"]),
            (&want.into(), &true.into()),
            "{receipt}"
        );
    }
}

#[test]
fn subscribers_with_and_without_tls_share_one_stream() {
    let dir = Dir::in_memory();
    let content = bytes(96, LENGTH);
    let source = dir.file("in", &content);
    let options = [
        "fan-out",
        "--listen=tls://127.0.0.1:0",
        "--listen=127.0.0.1:0",
        "--from=-",
        "--await=4",
        "--receipt=json",
    ];
    let mut command = underpass(&options);
    let mut cat = std::process::Command::new("cat");
    let mut cat = cat.arg(&source).stdout(Stdio::piped()).spawn().unwrap();
    command.stdin(cat.stdout.take().unwrap());
    let fan_out = FanOut::of(Running::start(command));
    let sinks: Vec<_> = (0..4).map(|at| dir.path(&format!("out{at}"))).collect();
    for subscriber in subscribed(&places(&fan_out), &sinks) {
        subscriber.finish().ok();
    }
    cat.wait().unwrap();
    for sink in &sinks {
        assert_bytes(&std::fs::read(sink).unwrap(), &content);
    }
    let outcome = fan_out.running.finish().ok();
    let receipts: Vec<Value> = outcome
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let with_tls = receipts
        .iter()
        .filter(|receipt| receipt["subscriber"]["tls"] != Value::Null);
    assert_eq!(with_tls.count(), 2);
    let of_source = receipts.last().unwrap();
    assert_eq!(
        of_source["bytes"], LENGTH as u64,
        "read once for all: {of_source}"
    );
}

#[test]
fn a_producer_has_tls() {
    let dir = Dir::in_memory();
    let content = bytes(97, LENGTH);
    let (source, sink) = (dir.file("in", &content), dir.path("out"));
    let options = [
        "fan-out",
        "--from=tls://127.0.0.1:0",
        "--listen=127.0.0.1:0",
        "--await=1",
    ];
    let fan_out = FanOut::of(Running::start(underpass(&options)));
    let producer = fan_out.producer().to_owned();
    assert!(producer.contains("#sha256-"), "{producer}");
    let subscriber = Running::start(underpass(&[
        "recv",
        "--connect",
        &places(&fan_out)[0],
        &sink,
    ]));
    run(&["send", &source, &producer]).ok();
    subscriber.finish().ok();
    fan_out.running.finish().ok();
    assert_bytes(&std::fs::read(&sink).unwrap(), &content);
}

/// Scanners shake hands, and leave; others break the rules. Neither is the producer.
#[test]
fn a_producer_without_a_byte_is_not_the_stream() {
    let dir = Dir::in_memory();
    let Some(certs) = Certs::new(&dir) else {
        return;
    };
    let (nothing, source) = (dir.file("nothing", b""), dir.file("in", b"content"));
    let sink = dir.path("out");
    let server = certs.server("server");
    let server: Vec<_> = server.iter().map(String::as_str).collect();
    for (allowed, wanted) in [(None, &b"content"[..]), (Some("--allow-empty"), b"")] {
        let options = [
            "fan-out",
            "--from=tls://127.0.0.1:0",
            "--listen=127.0.0.1:0",
            "--await=1",
        ];
        let options: Vec<_> = [&options[..], &server].concat();
        let options = options.into_iter().chain(allowed).collect::<Vec<_>>();
        let mut fan_out = FanOut::of(Running::start(underpass(&options)));
        let at = &places(&fan_out)[0];
        let subscriber = Running::start(underpass(&[
            "recv",
            "--connect",
            at,
            &sink,
            "--force",
            "--allow-empty",
        ]));
        let port = fan_out.producer().rsplit_once(':').unwrap().1.to_owned();
        if allowed.is_none() {
            for how in ["close", "cut"] {
                certs.sender(&port, &nothing, how).finish();
                let line = fan_out.running.line();
                assert!(line.contains("sent no byte"), "{how}: {line}");
            }
            certs.sender(&port, &source, "close").finish().ok();
        } else {
            certs.sender(&port, &nothing, "close").finish().ok();
        }
        subscriber.finish().ok();
        fan_out.running.finish().ok();
        assert_bytes(&std::fs::read(&sink).unwrap(), wanted);
    }
}
