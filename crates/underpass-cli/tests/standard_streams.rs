//! `-`: pipes are spliced, redirected files are sent from their current position, and receipts do
//! not get into the data.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::process::Stdio;

use rustix::pipe::{PipeFlags, pipe_with};

use crate::support::{Dir, Host, MIB, Outcome, Receipt, Running, bytes, underpass};

/// Runs the command with `content` as its piped standard input.
fn run_piped(args: &[&str], content: &[u8]) -> Outcome {
    let mut command = underpass(args);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    let mut stdin = running.stdin();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(content).unwrap());
        running.finish()
    })
}

/// Receives from `send -` with this `stdin`. Returns what arrived and the sender's outcome.
fn received_from_send(stdin: impl Into<Stdio>, host: &Host) -> (Vec<u8>, Outcome) {
    let mut command = underpass(&["send", "-", &host.address(), "--receipt", "json"]);
    command.stdin(stdin);
    let sender = Running::start(command);
    let mut came = Vec::new();
    host.accept().read_to_end(&mut came).unwrap();
    (came, sender.finish())
}

#[test]
fn a_pipe_is_spliced_into_the_connection() {
    let dir = Dir::in_memory();
    let content = bytes(20, 3 * MIB);
    for host in Host::each(&dir) {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let (came, sent) = std::thread::scope(|scope| {
            scope.spawn(|| {
                writer.write_all(&content).unwrap();
                drop(writer);
            });
            received_from_send(reader, &host)
        });
        assert!(came == content);
        let receipt = sent.ok().receipt();
        receipt.assert_route("splice", content.len());
        assert_eq!(receipt.cpu_bytes(), Some(0));
        assert_eq!(receipt.party("source"), ("pipe", "standard input"));
    }
}

/// As in `(head -c 5 >/dev/null; underpass send - …) < file`: the descriptor is shared, and so is
/// its offset.
#[test]
fn a_redirected_file_is_sent_from_where_it_stands() {
    let dir = Dir::in_memory();
    let content = bytes(21, MIB);
    let mut file = File::open(dir.file("in", &content)).unwrap();
    file.read_exact(&mut [0; 5]).unwrap();
    let host = Host::tcp();
    let (came, sent) = received_from_send(file.try_clone().unwrap(), &host);
    assert!(came == content[5..]);
    sent.ok().receipt().assert_route("sendfile", MIB - 5);
    // The next reader of the descriptor continues after what was sent, as after cat(1).
    assert_eq!(file.stream_position().unwrap(), MIB as u64);
}

#[test]
fn recv_splices_into_a_pipe_and_the_receipt_goes_to_standard_error() {
    let dir = Dir::in_memory();
    let content = bytes(22, 2 * MIB);
    for at in dir.listening_addresses() {
        let (receiver, address) = Running::recv(&[&at, "-", "--receipt", "json"]);
        let mut peer = crate::support::Stream::connect(&address);
        let got = std::thread::scope(|scope| {
            scope.spawn(|| {
                peer.write_all(&content).unwrap();
                peer.end();
            });
            receiver.finish().ok()
        });
        assert!(got.stdout == content);
        Receipt::read(&got.stderr).assert_route("splice", content.len());
    }
}

#[test]
fn recv_into_a_redirected_file_starts_where_it_stands() {
    let dir = Dir::in_memory();
    let content = bytes(23, MIB);
    let mut file = File::create(dir.path("out")).unwrap();
    file.write_all(b"header").unwrap();
    let mut command = underpass(&["recv", "tcp://127.0.0.1:0", "-", "--receipt", "json"]);
    command.stdout(file);
    let (receiver, address) = Running::listening(command);
    let mut peer = crate::support::Stream::connect(&address);
    peer.write_all(&content).unwrap();
    peer.end();
    let got = receiver.finish().ok();
    Receipt::read(&got.stderr).assert_route("splice", MIB);
    let whole = [b"header", content.as_slice()].concat();
    assert!(std::fs::read(dir.path("out")).unwrap() == whole);
}

#[test]
fn copy_splices_a_pipe_into_a_file() {
    let dir = Dir::in_memory();
    let content = bytes(24, 2 * MIB + 9);
    let copied = run_piped(&["copy", "-", &dir.path("b"), "--receipt=json"], &content).ok();
    copied.receipt().assert_route("splice", content.len());
    assert!(std::fs::read(dir.path("b")).unwrap() == content);
    assert_eq!(dir.names(), ["b"]);
}

#[test]
fn copy_splices_a_file_into_a_pipe() {
    let dir = Dir::in_memory();
    let content = bytes(25, 2 * MIB + 9);
    let source = dir.file("a", &content);
    let copied = crate::support::run(&["copy", &source, "-", "--receipt=json"]).ok();
    Receipt::read(&copied.stderr).assert_route("splice", content.len());
    assert!(copied.stdout == content);
}

#[test]
fn copy_joins_two_pipes() {
    let content = bytes(26, MIB);
    let copied = run_piped(&["copy", "-", "-", "--receipt=json"], &content).ok();
    Receipt::read(&copied.stderr).assert_route("splice", MIB);
    assert!(copied.stdout == content);
}

/// `copy a - >> b`: the kernel refuses a sink with O_APPEND for copy_file_range and sendfile
/// (pitfall 5).
#[test]
fn pitfall_05_an_appended_file_is_written() {
    let dir = Dir::in_memory();
    let content = bytes(27, MIB);
    let source = dir.file("a", &content);
    let sink = dir.file("b", b"before ");
    let mut command = underpass(&["copy", &source, "-", "--receipt=json"]);
    command.stdout(OpenOptions::new().append(true).open(&sink).unwrap());
    let copied = Running::start(command).finish().ok();
    Receipt::read(&copied.stderr).assert_route("read-write", MIB);
    let whole = [b"before ", content.as_slice()].concat();
    assert!(std::fs::read(sink).unwrap() == whole);
}

#[test]
fn copy_into_a_redirected_file_stays_in_the_kernel() {
    let dir = Dir::in_memory();
    let content = bytes(28, MIB);
    let source = dir.file("a", &content);
    let mut command = underpass(&["copy", &source, "-", "--receipt=json"]);
    command.stdout(File::create(dir.path("b")).unwrap());
    let copied = Running::start(command).finish().ok();
    Receipt::read(&copied.stderr).assert_route("copy_file_range", MIB);
    assert!(std::fs::read(dir.path("b")).unwrap() == content);
}

#[test]
fn a_stream_cannot_be_entered_in_the_middle() {
    let args = ["copy", "-", "-", "--range", "5.."];
    run_piped(&args, b"").fails(2, &["standard input", "stream", "byte 0"]);
}

/// `underpass copy big - | head -c 1`
#[test]
fn a_reader_that_goes_away_ends_the_copy() {
    let dir = Dir::in_memory();
    let source = dir.file("a", &bytes(29, 8 * MIB));
    let mut running = Running::start(underpass(&["copy", &source, "-", "--receipt=none"]));
    running.stdout().read_exact(&mut [0]).unwrap();
    running
        .finish()
        .fails(3, &[&source, "standard output", ", after "]);
}

/// `send - < /dev/null` and closed descriptors give a result, not a panic.
#[test]
fn nothing_to_read_is_an_empty_transfer() {
    let host = Host::tcp();
    let (came, sent) = received_from_send(File::open("/dev/null").unwrap(), &host);
    assert!(came.is_empty());
    assert_eq!(sent.ok().receipt().number("bytes"), 0);
}

/// Several programs share a log or a terminal: a line that is written by one system call stays
/// whole.
#[test]
fn a_line_on_standard_error_is_written_at_once() {
    // One read from such a pipe returns exactly what one write wrote (O_DIRECT in pipe(2)).
    let flags = PipeFlags::CLOEXEC | PipeFlags::DIRECT;
    let (reader, writer) = pipe_with(flags).unwrap();
    let mut command = underpass(&["copy", "no such file", "sink"]);
    command.stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(1));
    let mut line = [0; 4096];
    let count = rustix::io::read(&reader, &mut line).unwrap();
    let line = std::str::from_utf8(&line[..count]).unwrap();
    assert!(line.starts_with("underpass: no such file: "), "{line:?}");
    assert!(line.ends_with('\n'), "{line:?}");
}
