//! `send` is done when the peer has taken the data. If it fails, it says how much arrived.

use std::io::{ErrorKind, Read, Write};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Dir, Host, MIB, MORE_THAN_BUFFERS, Running, bytes, run, underpass};

#[test]
fn a_peer_that_resets_in_the_middle_leaves_it_incomplete() {
    const READ: usize = 3 * MIB;
    // A peer may acknowledge the last segments that it read up to 40 ms later, or never after a
    // reset. A segment over loopback has up to 64 KiB.
    const UNACKNOWLEDGED: usize = 256 << 10;
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(30, MORE_THAN_BUFFERS));
    for host in Host::each(&dir) {
        let address = host.address();
        let sender = underpass(&["send", &source, &address, "--receipt", "json"]);
        let sender = Running::start(sender);
        let mut peer = host.accept();
        peer.read_exactly(READ);
        // The sender waits for us with a full send buffer: it handed more bytes to the kernel than
        // arrived.
        sender.await_sleep();
        peer.reset();
        let sent = sender.finish().fails(3, &[&source, &address, ", after "]);
        assert!(!sent.receipt().complete());
        assert!(sent.receipt().number("bytes") >= READ as u64);
        // For a Unix socket, nobody can tell how many bytes the peer took.
        if address.starts_with("tcp") {
            let arrived = acknowledged(&sent.stderr);
            let possible = (READ - UNACKNOWLEDGED) as u64..sent.receipt().number("bytes");
            assert!(possible.contains(&arrived), "{}", sent.stderr);
        }
    }
}

/// The number in "of which the peer acknowledged N".
fn acknowledged(line: &str) -> u64 {
    let (_, number) = line.split_once("of which the peer acknowledged ").unwrap();
    number.trim_end().replace(',', "").parse().unwrap()
}

/// Everything is in the kernel's buffers and the engine is done, but the peer discards it.
#[test]
fn a_reset_after_the_last_byte_was_handed_over_is_noticed() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(31, 100_000));
    for host in Host::each(&dir) {
        let address = host.address();
        let sender = Running::start(underpass(&["send", &source, &address]));
        let mut peer = host.accept();
        peer.read_exactly(1);
        peer.reset();
        sender.finish().fails(3, &[&source, &address]);
    }
}

#[test]
fn a_peer_that_never_reads_is_given_up() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(32, MORE_THAN_BUFFERS));
    for host in Host::each(&dir) {
        let address = host.address();
        let sender = underpass(&["send", &source, &address, "--timeout", "300ms"]);
        let sender = Running::start(sender);
        let _silent = host.accept();
        sender.finish().fails(3, &[&source, &address, "300 ms"]);
    }
}

/// The peer reads nothing and never stops sending.
#[test]
fn pitfall_35_a_peer_that_floods_is_given_up() {
    let dir = Dir::in_memory();
    for (size, why) in [(20_000, "small"), (MORE_THAN_BUFFERS, "large")] {
        let source = dir.file("in", &bytes(34, size));
        let host = Host::unix(&dir);
        let address = host.address();
        let sender = underpass(&["send", &source, &address, "--timeout", "300ms"]);
        let sender = Running::start(sender);
        let flooding = host.accept();
        let floods = [(); 2].map(|()| {
            let mut flood = flooding.try_clone();
            std::thread::spawn(move || while flood.write(&[1; 4096]).is_ok() {})
        });
        sender.finish().fails(3, &[&source, &address, "300 ms"]);
        for flood in floods {
            assert!(flood.join().is_ok(), "{why}");
        }
    }
}

/// A Unix socket's buffer holds a small file completely. It is noticed all the same that nobody
/// reads it.
#[test]
fn a_small_file_that_nobody_reads_is_not_delivered() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(33, 20_000));
    let host = Host::unix(&dir);
    let address = host.address();
    let args = [
        "send",
        &source,
        &address,
        "--timeout",
        "300ms",
        "--receipt=json",
    ];
    let sender = Running::start(underpass(&args));
    let _silent = host.accept();
    let sent = sender
        .finish()
        .fails(3, &[&source, &address, "300 ms", "20,000 bytes"]);
    assert!(!sent.receipt().complete());
}

/// The peer's kernel acknowledged everything. It is not a failure if its process keeps the
/// connection open, however short the timeout.
#[test]
fn a_peer_that_took_all_may_keep_the_connection_open() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(34, 20_000));
    for options in [&["--timeout", "300ms"][..], &[]] {
        let host = Host::tcp();
        let address = host.address();
        let args = [&["send", &source, &address], options].concat();
        let sender = Running::start(underpass(&args));
        let mut open = host.accept();
        open.read_exactly(20_000);
        sender.finish().ok();
    }
}

/// A sender that gives up resets the connection, so that no receiver mistakes a part for the whole.
#[test]
fn a_failed_sender_leaves_no_file_at_the_receiver() {
    let dir = Dir::in_memory();
    let (receiver, address) =
        Running::recv(&["tcp://127.0.0.1:0", &dir.path("out"), "--receipt=none"]);
    let mut sender = piped_sender(&address);
    let mut stdin = sender.stdin();
    stdin.write_all(&bytes(35, MIB)).unwrap();
    sender.signal(Signal::TERM);
    sender
        .finish()
        .fails(143, &["standard input", &address, "cancelled"]);
    receiver.finish().fails(3, &[&address, &dir.path("out")]);
    assert_eq!(dir.names(), [""; 0]);
}

/// A peer that the test plays sees the reset itself.
#[test]
fn a_failed_sender_resets_the_connection() {
    let host = Host::tcp();
    let mut sender = piped_sender(&host.address());
    let mut peer = host.accept();
    let mut stdin = sender.stdin();
    stdin.write_all(&bytes(36, MIB)).unwrap();
    sender.signal(Signal::INT);
    let end = peer.drain().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    sender.finish().fails(130, &["standard input", "cancelled"]);
}

/// `send -`, with its standard input written by the test. Once it has taken more than a pipe holds,
/// it is connected and sending.
fn piped_sender(address: &str) -> Running {
    let mut command = underpass(&["send", "-", address, "--receipt=none"]);
    command.stdin(Stdio::piped());
    Running::start(command)
}

/// A silent source has not ended; with `--timeout`, it is a failure.
#[test]
fn a_silent_source_times_out() {
    let host = Host::tcp();
    let mut command = underpass(&["send", "-", &host.address(), "--timeout=300ms"]);
    command.stdin(Stdio::piped());
    let mut sender = Running::start(command);
    let stdin = sender.stdin();
    let mut peer = host.accept();
    let reset = peer.read(&mut [0]).unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
    sender.finish().fails(3, &["standard input", "300 ms"]);
    drop(stdin);
}

/// A peer that goes away is noticed at once, even while the source is silent.
#[test]
fn a_peer_that_goes_away_ends_a_send_with_a_silent_source() {
    let dir = Dir::in_memory();
    for host in Host::each(&dir) {
        let mut sender = piped_sender(&host.address());
        let mut stdin = sender.stdin();
        let mut peer = host.accept();
        stdin.write_all(b"x").unwrap();
        peer.read_exactly(1);
        peer.reset();
        sender
            .finish()
            .fails(3, &["standard input", &host.address()]);
        drop(stdin);
    }
}

#[test]
fn what_the_peer_says_is_read_and_thrown_away() {
    let dir = Dir::in_memory();
    let content = bytes(38, 5 * MIB);
    let source = dir.file("in", &content);
    for host in Host::each(&dir) {
        let sender = Running::start(underpass(&["send", &source, &host.address()]));
        let mut peer = host.accept();
        peer.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        assert!(peer.read_exactly(5 * MIB) == content);
        drop(peer);
        sender.finish().ok();
    }
}

#[test]
fn nobody_listening_is_one_clear_line() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"x");
    let address = Host::tcp().address();
    run(&["send", &source, &address]).fails(1, &[&address, "refused"]);
    let address = format!("unix:{}", dir.path("nobody"));
    run(&["send", &source, &address]).fails(1, &[&address]);
}
