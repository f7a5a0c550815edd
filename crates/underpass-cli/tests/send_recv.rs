//! `send` and `recv` with each other: the bytes, the route, and the costs that the receipts report.

use std::io::Write;

use crate::support::{Dir, MIB, Running, assert_same, bytes, run, underpass};

/// The main promise: 1 GiB goes from file to file through a connection, and the sender's CPU copies
/// none of it.
#[test]
fn a_gibibyte_arrives_and_the_sender_copies_nothing() {
    const BLOCKS: usize = 16;
    let dir = Dir::new();
    let (source, sink) = (dir.path("in.bin"), dir.path("out.bin"));
    let mut file = std::fs::File::create(&source).unwrap();
    let mut block = bytes(1, 64 * MIB);
    for number in 0..BLOCKS {
        // No two blocks are alike, so a block in the wrong place is noticed.
        block[..8].copy_from_slice(&number.to_le_bytes());
        file.write_all(&block).unwrap();
    }
    let length = BLOCKS * block.len();

    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink, "--receipt", "json"]);
    let sent = run(&["send", &source, &address, "--receipt", "json"]).ok();
    let got = receiver.finish().ok();

    let receipt = sent.receipt();
    receipt.assert_route("sendfile", length);
    assert_eq!(receipt.cpu_bytes(), Some(0));
    assert_eq!(receipt.evidence(), "expected");
    assert!(receipt.why().contains("lo gathers"), "{}", receipt.why());
    assert_eq!(receipt.party("source"), ("file", source.as_str()));
    assert_eq!(receipt.party("sink"), ("tcp", address.as_str()));
    let receipt = got.receipt();
    receipt.assert_route("splice", length);
    assert_eq!(receipt.cpu_bytes(), Some(length as u64));
    assert_eq!(receipt.party("source"), ("tcp", address.as_str()));
    assert_eq!(receipt.party("sink"), ("file", sink.as_str()));
    assert_eq!((sent.stderr.as_str(), got.stderr.as_str()), ("", ""));
    assert_same(&source, &sink);
}

/// Sizes around those of one page, one pipe, and one call of the route for small bodies.
#[test]
fn every_size_arrives_over_every_network() {
    let table = [
        (0, "none"),
        (1, "read-write"),
        (4095, "read-write"),
        (4096, "sendfile"),
        (65_537, "sendfile"),
        (5 * MIB + 3, "sendfile"),
    ];
    let dir = Dir::in_memory();
    for (length, route) in table {
        let source = dir.file("in", &bytes(2, length));
        for at in dir.listening_addresses() {
            let sink = dir.path("out");
            let (receiver, address) = Running::recv(&[&at, &sink, "--allow-empty"]);
            let sent = run(&["send", &source, &address, "--receipt", "json"]).ok();
            receiver.finish().ok();
            assert_eq!(sent.receipt().route(), route, "{length} bytes to {at}");
            assert_eq!(sent.receipt().number("bytes"), length as u64);
            assert_same(&source, &sink);
            std::fs::remove_file(sink).unwrap();
        }
    }
}

#[test]
fn a_unix_socket_is_sent_to_and_received_from_without_user_space() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(3, 9 * MIB));
    let (at, sink) = (format!("unix:{}", dir.path("socket")), dir.path("out"));
    let (receiver, address) = Running::recv(&[&at, &sink, "--receipt", "json"]);
    assert_eq!(address, at);
    let sent = run(&["send", &source, &at, "--receipt", "json"]).ok();
    let got = receiver.finish().ok();
    sent.receipt().assert_route("sendfile", 9 * MIB);
    assert_eq!(sent.receipt().cpu_bytes(), Some(0));
    assert_eq!(sent.receipt().party("sink"), ("unix_stream", at.as_str()));
    got.receipt().assert_route("splice", 9 * MIB);
    assert_same(&source, &sink);
}

#[test]
fn each_route_can_be_forced_and_delivers_the_same() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(4, 3 * MIB + 1));
    let receive = ["splice", "read-write"];
    for (at, name) in [("sendfile", 0), ("splice", 1), ("read-write", 1)] {
        let sink = dir.path("out");
        let (receiver, address) = Running::recv(&[
            "tcp://127.0.0.1:0",
            &sink,
            "--receipt=json",
            "--route",
            receive[name],
        ]);
        let sent = run(&["send", &source, &address, "--receipt=json", "--route", at]).ok();
        sent.receipt().assert_route(at, 3 * MIB + 1);
        let got = receiver.finish().ok();
        got.receipt().assert_route(receive[name], 3 * MIB + 1);
        assert_same(&source, &sink);
        std::fs::remove_file(sink).unwrap();
    }
}

/// With `--stable`, a copy is sent where the kernel could only share pages.
#[test]
fn a_stable_source_is_copied() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(5, MIB));
    let sink = dir.path("out");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink]);
    let sent = run(&["send", &source, &address, "--stable", "--receipt=json"]).ok();
    receiver.finish().ok();
    sent.receipt().assert_route("read-write", MIB);
    assert_same(&source, &sink);
}

#[test]
fn part_of_a_file_is_sent() {
    let dir = Dir::in_memory();
    let content = bytes(6, MIB);
    let source = dir.file("in", &content);
    let sink = dir.path("out");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink]);
    let args = [
        "send",
        &source,
        &address,
        "--range",
        "100K..500K",
        "--receipt=json",
    ];
    let sent = run(&args).ok();
    receiver.finish().ok();
    sent.receipt().assert_route("sendfile", 400 << 10);
    assert_eq!(std::fs::read(sink).unwrap(), content[100 << 10..500 << 10]);
}

/// The sender may be started first: it tries again for a moment.
#[test]
fn a_receiver_that_is_just_starting_is_waited_for() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(7, MIB));
    let (address, sink) = (format!("unix:{}", dir.path("socket")), dir.path("out"));
    let sender = Running::start(underpass(&["send", &source, &address]));
    // It was refused once, and waits before it tries again.
    sender.await_sleep();
    let (receiver, _) = Running::recv(&[&address, &sink]);
    sender.finish().ok();
    receiver.finish().ok();
    assert_same(&source, &sink);
}

#[test]
fn receipts_come_in_the_form_asked_for() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(8, MIB));
    let said = |options: &[&str]| {
        let sink = dir.path("out");
        let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink]);
        let sent = run(&[&["send", &source, &address], options].concat()).ok();
        receiver.finish().ok();
        std::fs::remove_file(sink).unwrap();
        assert_eq!(sent.stderr, "");
        sent.text().to_owned()
    };
    for options in [&[][..], &["--receipt", "human"]] {
        let line = said(options);
        assert!(
            line.starts_with(&format!("sent {source}: 1.0 MiB in ")),
            "{line}"
        );
        assert_eq!(line.lines().count(), 1, "{line}");
    }
    assert_eq!(said(&["--receipt", "none"]), "");
    assert_eq!(said(&["--quiet"]), "");
    assert!(said(&["--quiet", "--receipt", "json"]).starts_with('{'));
}

#[test]
fn verbose_prints_the_plan_first() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(9, MIB));
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &dir.path("out")]);
    let sent = run(&["send", &source, &address, "-v"]).ok();
    receiver.finish().ok();
    let first = sent.stderr.lines().next().unwrap();
    assert!(first.starts_with("underpass: plan: sendfile: "), "{first}");
}
