//! A connection without a byte is not a transfer, unless that is allowed explicitly.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::support::{Dir, FanOut, Running, Stream, needs, run, underpass};

/// Commands that take a stream from the first peer that connects; `allowed` if the stream may be
/// empty.
fn waiting(dir: &Dir, at: &str, allowed: bool) -> (Running, String) {
    let allow: &[&str] = if allowed { &["--allow-empty"] } else { &[] };
    let sink = dir.path("out");
    Running::recv(&[&[at, &sink, "--receipt=none"], allow].concat())
}

#[test]
fn recv_goes_on_listening_after_a_connection_without_a_byte() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"the file");
    for at in dir.listening_addresses() {
        let (mut receiver, address) = waiting(&dir, &at, false);
        for how in [Stream::end, |_: &Stream| {}] {
            how(&Stream::connect(&address));
            let line = receiver.line();
            assert!(
                line.contains("without a byte") && line.contains("--allow-empty"),
                "{line}"
            );
        }
        Stream::connect(&address).reset();
        if address.starts_with("tcp") {
            let line = receiver.line();
            assert!(line.contains("reset"), "{line}");
        } else {
            receiver.line();
        }
        run(&["send", &source, &address]).ok();
        receiver.finish().ok();
        assert_eq!(std::fs::read(dir.path("out")).unwrap(), b"the file");
        std::fs::remove_file(dir.path("out")).unwrap();
    }
}

#[test]
fn a_port_scanner_leaves_recv_and_fan_out_as_they_were() {
    if !needs::tool("nc") {
        return;
    }
    let dir = Dir::in_memory();
    let source = dir.file("in", b"the file");
    let scan = |address: &str| {
        let port = address.rsplit(':').next().unwrap();
        let mut command = Command::new("nc");
        command.args(["-z", "127.0.0.1", port]).stdin(Stdio::null());
        assert!(command.status().unwrap().success());
    };
    let (mut receiver, address) = waiting(&dir, "tcp://127.0.0.1:0", false);
    scan(&address);
    receiver.line();
    run(&["send", &source, &address]).ok();
    receiver.finish().ok();

    let mut fan_out = FanOut::from("tcp://127.0.0.1:0", &["--await", "1"]);
    let producer = fan_out.producer().to_owned();
    scan(&producer);
    let line = fan_out.running.line();
    assert!(
        line.contains("no byte") && line.contains(&producer),
        "{line}"
    );
    let mut subscriber = fan_out.connect();
    run(&["send", &source, &producer]).ok();
    assert_eq!(subscriber.read_all(), b"the file");
    fan_out.running.finish().ok();
}

#[test]
fn an_empty_transfer_is_one_where_it_is_said_to_be_one() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"");
    let at = "tcp://127.0.0.1:0";
    let (receiver, address) = waiting(&dir, at, true);
    run(&["send", &source, &address]).ok();
    receiver.finish().ok();
    assert_eq!(std::fs::read(dir.path("out")).unwrap(), b"");
    std::fs::remove_file(dir.path("out")).unwrap();

    // Over a Unix socket, two underpass processes confirm it to each other.
    let (receiver, address) = waiting(&dir, &dir.listening_addresses()[1], false);
    run(&["send", &source, &address]).ok();
    receiver.finish().ok();
    assert_eq!(std::fs::read(dir.path("out")).unwrap(), b"");
    std::fs::remove_file(dir.path("out")).unwrap();

    // The sender does not get a confirmation.
    let (mut receiver, address) = waiting(&dir, at, false);
    run(&["send", &source, &address]).fails(3, &[&address, "--allow-empty"]);
    receiver.line();
    drop(receiver);
}

#[test]
fn who_connects_to_an_empty_stream_keeps_nothing_unless_told_to() {
    let dir = Dir::in_memory();
    let out = dir.path("out");
    let (fan_out, stdin) = FanOut::piped(&["--await", "2"]);
    let address = fan_out.addresses[0].clone();
    let args = ["recv", "--connect", &address, &out];
    let refusing = Running::start(underpass(&args));
    let other = dir.path("other");
    let args = ["recv", "--connect", &address, &other, "--allow-empty"];
    let allowing = Running::start(underpass(&args));
    drop(stdin);
    refusing.finish().fails(3, &[&address, "--allow-empty"]);
    allowing.finish().ok();
    assert_eq!(dir.names(), ["other"]);
    fan_out.running.finish();
}

#[test]
fn a_fifo_is_waited_for_by_a_fan_out_that_listens_already() {
    let dir = Dir::in_memory();
    let fifo = dir.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut fan_out = FanOut::from(&fifo, &["--await", "1"]);
    let mut subscriber = fan_out.connect();
    // A program that writes nothing is not a producer.
    drop(std::fs::OpenOptions::new().write(true).open(&fifo).unwrap());
    assert!(fan_out.running.line().contains("no byte"));
    let mut producer = std::fs::OpenOptions::new().write(true).open(&fifo).unwrap();
    producer.write_all(b"by the FIFO").unwrap();
    drop(producer);
    assert_eq!(subscriber.read_all(), b"by the FIFO");
    fan_out.running.finish().ok();
}
