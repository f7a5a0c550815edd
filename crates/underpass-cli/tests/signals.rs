//! Signals end a command cleanly: no file and no socket is left, one line is printed, and the exit
//! code is the shell's for that signal.

use std::io::Write;
use std::process::{ChildStdin, Command, Stdio};

use rustix::process::Signal;

use crate::support::{Dir, Host, MIB, MORE_THAN_BUFFERS, Running, Stream, bytes, run, underpass};

const SIGNALS: [(Signal, i32); 3] = [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)];

#[test]
fn recv_before_anybody_connects() {
    let dir = Dir::in_memory();
    for (signal, code) in SIGNALS {
        for at in dir.listening_addresses() {
            let (receiver, address) = Running::recv(&[&at, &dir.path("out")]);
            receiver.signal(signal);
            receiver.finish().fails(code, &[&address, "cancelled"]);
            assert_eq!(dir.names(), [""; 0]);
        }
    }
}

#[test]
fn recv_in_the_middle() {
    let dir = Dir::in_memory();
    let content = bytes(120, MORE_THAN_BUFFERS);
    for (signal, code) in SIGNALS {
        for at in dir.listening_addresses() {
            let args = [&at, &dir.path("out"), "--receipt=none"];
            let (receiver, address) = Running::recv(&args);
            let mut peer = Stream::connect(&address);
            peer.write_all(&content).unwrap();
            receiver.signal(signal);
            receiver
                .finish()
                .fails(code, &[&address, &dir.path("out"), "cancelled"]);
            assert_eq!(dir.names(), [""; 0]);
        }
    }
}

/// `nohup underpass recv … &`: the terminal may close.
#[test]
fn an_ignored_signal_stays_ignored() {
    let dir = Dir::in_memory();
    let args = [
        "recv",
        "tcp://127.0.0.1:0",
        &dir.path("out"),
        "--allow-empty",
    ];
    let line = format!(
        "trap '' HUP INT; exec {} \"$@\"",
        env!("CARGO_BIN_EXE_underpass")
    );
    let mut command = Command::new("sh");
    command.args(["-c", &line, "sh"]).args(args);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    let (receiver, address) = Running::listening(command);
    receiver.signal(Signal::HUP);
    receiver.signal(Signal::INT);
    Stream::connect(&address).end();
    receiver.finish().ok();
    assert_eq!(dir.names(), ["out"]);
}

/// `copy -`, with standard input written by the test. Once it has taken more than a pipe holds, it
/// is copying.
fn piped_copy(sink: &str) -> (Running, ChildStdin) {
    let mut command = underpass(&["copy", "-", sink, "--receipt=none"]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin();
    stdin.write_all(&bytes(121, MIB)).unwrap();
    (running, stdin)
}

#[test]
fn copy_in_the_middle() {
    let dir = Dir::in_memory();
    for (signal, code) in SIGNALS {
        let (copy, _stdin) = piped_copy(&dir.path("out"));
        assert_eq!(dir.names().len(), 1, "its temporary file");
        copy.signal(signal);
        copy.finish()
            .fails(code, &["standard input", &dir.path("out"), "cancelled"]);
        assert_eq!(dir.names(), [""; 0]);
    }
}

#[test]
fn copy_into_a_pipe_that_nobody_reads() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(122, MIB));
    let mut command = underpass(&["copy", &source, "-", "--receipt=none"]);
    let (mut reader, writer) = std::io::pipe().unwrap();
    command.stdout(writer);
    let copy = Running::start(command);
    std::io::Read::read_exact(&mut reader, &mut [0]).unwrap();
    copy.signal(Signal::INT);
    copy.finish()
        .fails(130, &[&source, "standard output", "cancelled"]);
}

#[test]
fn send_while_it_waits_for_the_peer() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(123, 20_000));
    let host = Host::unix(&dir);
    let args = ["send", &source, &host.address(), "--receipt=json"];
    let mut sender = Running::start(underpass(&args));
    let mut peer = host.accept();
    // One byte is left in the socket: the transfer is done, but the delivery is not.
    peer.read_exactly(19_999);
    sender.signal(Signal::TERM);
    let mut said = String::new();
    std::io::Read::read_to_string(&mut sender.stdout(), &mut said).unwrap();
    sender
        .finish()
        .fails(143, &[&source, &host.address(), "cancelled"]);
    let receipt = crate::support::Receipt::read(&said);
    assert!(!receipt.complete());
}

/// For every signal that ends a process and can be caught: nothing is left, and one line is
/// printed.
#[test]
fn pitfall_31_no_signal_leaves_a_part() {
    let dir = Dir::in_memory();
    // This includes real-time signals: the first and the last that the C library leaves to
    // programs.
    let numbers = [3, 5, 6, 10, 12, 14, 16, 24, 26, 27, 29, 30, 31, 35, 50, 64];
    for number in numbers {
        let (copy, _stdin) = piped_copy(&dir.path("out"));
        assert_eq!(dir.names().len(), 1, "its temporary file");
        let pid = copy.pid().to_string();
        let killed = Command::new("sh")
            .args(["-c", &format!("kill -{number} {pid}")])
            .status();
        assert!(killed.unwrap().success());
        copy.finish()
            .fails(128 + number, &["standard input", "cancelled"]);
        assert_eq!(dir.names(), [""; 0], "signal {number}");
        let at = format!("unix:{}", dir.path("socket"));
        let (receiver, _) = Running::recv(&[&at, &dir.path("out")]);
        let pid = receiver.pid().to_string();
        let killed = Command::new("sh")
            .args(["-c", &format!("kill -{number} {pid}")])
            .status();
        assert!(killed.unwrap().success());
        receiver.finish().fails(128 + number, &["cancelled"]);
        assert_eq!(dir.names(), [""; 0], "signal {number}");
    }
}

/// A FIFO without a reader blocks open(2), but not the signal.
#[test]
fn a_fifo_that_nobody_opens() {
    let dir = Dir::in_memory();
    let fifo = dir.path("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, fifo.as_str(), rustix::fs::Mode::RWXU).unwrap();
    let source = dir.file("in", b"content");
    let copy = Running::start(underpass(&["copy", &source, &fifo]));
    copy.await_sleep();
    copy.signal(Signal::INT);
    assert_eq!(copy.finish().code, 130);
    // Nothing is left behind that would disturb a second run.
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| std::fs::read(&fifo).unwrap());
        run(&["copy", &source, &fifo]).ok();
        assert_eq!(reader.join().unwrap(), b"content");
    });
}
