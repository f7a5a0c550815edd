//! Processes that are killed in the middle, by SIGKILL: nobody takes a part for the whole.

use std::io::{ErrorKind, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Dir, FanOut, Host, MIB, Relay, Running, bytes, reading, underpass};

/// `send -` with its standard input in the test's hands, of which some is on its way.
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
fn a_killed_sender_leaves_no_file_at_a_receiver() {
    let dir = Dir::in_memory();
    let at = "tcp://127.0.0.1:0";
    let sink = dir.path("out");
    let (receiver, address) = Running::recv(&[at, &sink, "--receipt=none"]);
    let (sender, _stdin) = sending(&address);
    kill(sender);
    receiver.finish().fails(3, &[&address, &sink]);
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn a_killed_receiver_leaves_no_success_at_a_sender() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"read and not yet kept");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", "-", "--receipt=none"]);
    let (sender, mut stdin) = sending(&address);
    stdin.write_all(&std::fs::read(source).unwrap()).unwrap();
    kill(receiver);
    drop(stdin);
    sender.finish().fails(3, &[&address]);
}

#[test]
fn a_killed_producer_leaves_no_file_at_subscribers() {
    let dir = Dir::in_memory();
    let fan_out = FanOut::from("tcp://127.0.0.1:0", &["--await", "1"]);
    let out = dir.path("out");
    let args = [
        "recv",
        "--connect",
        &fan_out.addresses[0],
        &out,
        "--receipt=none",
    ];
    let subscriber = Running::start(underpass(&args));
    let (producer, _stdin) = sending(fan_out.producer());
    kill(producer);
    subscriber.finish().fails(3, &[&fan_out.addresses[0], &out]);
    fan_out.running.finish().fails(3, &["broke off"]);
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn a_killed_fan_out_leaves_no_file_at_subscribers() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(38, 64 * MIB));
    let (piped, mut stdin) = FanOut::piped(&["--await", "1"]);
    stdin.write_all(b"some").unwrap();
    for fan_out in [piped, FanOut::from(&source, &[])] {
        let mut subscriber = fan_out.connect();
        subscriber.read_exactly(4);
        kill(fan_out.running);
        let ended = reading(subscriber).join().unwrap().1.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    }
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
