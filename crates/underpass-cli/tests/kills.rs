//! Processes that are killed in the middle by SIGKILL: nobody mistakes a part for the whole.

use std::io::{ErrorKind, Read, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Dir, FanOut, Host, MIB, Relay, Running, Stream, bytes, reading, underpass};

/// `send -`, with its standard input written by the test; some of it is on its way.
fn sending(address: &str) -> (Running, std::process::ChildStdin) {
    let mut command = underpass(&["send", "-", address, "--receipt=none"]);
    command.stdin(Stdio::piped());
    let mut sender = Running::start(command);
    let mut stdin = sender.stdin();
    stdin.write_all(&bytes(37, MIB)).unwrap();
    (sender, stdin)
}

fn kill(running: Running) {
    running.signal(Signal::KILL);
    assert_eq!(running.finish().code, 137);
}

#[test]
fn a_sender_that_is_killed_or_told_to_end_leaves_no_file_at_a_receiver() {
    let dir = Dir::in_memory();
    let sink = dir.path("out");
    for signal in [Signal::KILL, Signal::TERM] {
        for at in dir.listening_addresses() {
            let (receiver, address) = Running::recv(&[&at, &sink, "--receipt=none"]);
            let (sender, _stdin) = sending(&address);
            sender.signal(signal);
            assert_eq!(sender.finish().code, 128 + signal.as_raw());
            receiver.finish().fails(3, &[&address, &sink]);
            assert_eq!(dir.names(), [""; 0], "{address}");
        }
    }
}

/// Every message says what is left, and every receipt how much arrived, however the missing rest
/// was noticed.
#[test]
fn a_part_in_its_place_is_told() {
    let dir = Dir::in_memory();
    let sink = dir.file("out", b"old");
    for at in dir.listening_addresses() {
        let (receiver, address) = Running::recv(&[&at, &sink, "--in-place", "--receipt=json"]);
        let (sender, _stdin) = sending(&address);
        kill(sender);
        let outcome = receiver
            .finish()
            .fails(3, &[&address, "out holds what came"]);
        let receipt = outcome.receipt();
        assert!(!receipt.complete(), "{address}");
        let left = std::fs::metadata(&sink).unwrap().len();
        assert_eq!(receipt.number("bytes"), left, "{address}");
        // More than will come.
        let (receiver, address) =
            Running::recv(&[&at, &sink, "--in-place", "--receipt=json", "--expect=9"]);
        let mut peer = Stream::connect(&address);
        peer.write_all(b"ten bytes!").unwrap();
        let outcome = receiver
            .finish()
            .fails(3, &["9 bytes expected", "out holds what came"]);
        assert!(!outcome.receipt().complete(), "{address}");
        assert_eq!(std::fs::metadata(&sink).unwrap().len(), 9, "{address}");
    }
}

/// It has read everything, but has not kept it yet.
#[test]
fn a_killed_receiver_leaves_no_success_at_a_sender() {
    let dir = Dir::in_memory();
    for at in dir.listening_addresses() {
        let (mut receiver, address) = Running::recv(&[&at, "-", "--receipt=none"]);
        let mut command = underpass(&["send", "-", &address, "--receipt=none"]);
        command.stdin(Stdio::piped());
        let mut sender = Running::start(command);
        let mut stdin = sender.stdin();
        stdin.write_all(b"all there is").unwrap();
        receiver.stdout().read_exact(&mut [0; 12]).unwrap();
        kill(receiver);
        drop(stdin);
        sender.finish().fails(3, &[&address]);
    }
}

#[test]
fn a_killed_producer_leaves_no_file_at_subscribers() {
    let dir = Dir::in_memory();
    for at in dir.listening_addresses() {
        let at = at.replace("/socket", "/producer");
        let fan_out = FanOut::to_each_kind(&dir, &at, &["--await", "2"]);
        let subscribers = fan_out
            .addresses
            .iter()
            .map(|address| subscribe(&dir, address));
        let subscribers: Vec<_> = subscribers.collect();
        let (producer, _stdin) = sending(fan_out.producer());
        kill(producer);
        for (subscriber, address) in subscribers.into_iter().zip(&fan_out.addresses) {
            subscriber.finish().fails(3, &[address]);
        }
        fan_out.running.finish().fails(3, &["broke off"]);
        assert_eq!(dir.names(), [""; 0], "{at}");
    }
}

/// Starts `recv --connect` to a file of its own.
fn subscribe(dir: &Dir, address: &str) -> Running {
    let out = dir.path(if address.starts_with("tcp") {
        "tcp"
    } else {
        "unix"
    });
    Running::start(underpass(&[
        "recv",
        "--connect",
        address,
        &out,
        "--receipt=none",
    ]))
}

#[test]
fn a_killed_fan_out_leaves_no_file_at_subscribers() {
    let dir = Dir::in_memory();
    let kinds = FanOut::to_each_kind(&dir, "tcp://127.0.0.1:0", &["--await", "2"]);
    let subscribers = kinds
        .addresses
        .iter()
        .map(|address| subscribe(&dir, address));
    let subscribers: Vec<_> = subscribers.collect();
    let (producer, _stdin) = sending(kinds.producer());
    // Each has all bytes so far, so that only the end is missing.
    while dir.sizes() != [MIB as u64; 2] {
        std::thread::yield_now();
    }
    let addresses = kinds.addresses.clone();
    kill(kinds.running);
    for (subscriber, address) in subscribers.into_iter().zip(&addresses) {
        subscriber.finish().fails(3, &[address]);
    }
    producer.finish().fails(3, &[]);
    std::fs::remove_file(dir.path("subscribers")).unwrap();
    assert_eq!(dir.names(), [""; 0]);

    let source = dir.file("in", &bytes(38, 64 * MIB));
    let fan_out = FanOut::from(&source, &[]);
    let mut subscriber = fan_out.connect();
    subscriber.read_exactly(4);
    kill(fan_out.running);
    let ended = reading(subscriber).join().unwrap().1.unwrap_err();
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_killed_relay_resets_both_sides() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &[]);
    let (mut client, mut target) = (relay.connect(), host.accept());
    client.write_all(b"up").unwrap();
    assert_eq!(target.read_exactly(2), b"up");
    kill(relay.running);
    for side in [&mut client, &mut target] {
        assert_eq!(side.drain().unwrap_err().kind(), ErrorKind::ConnectionReset);
    }
}
