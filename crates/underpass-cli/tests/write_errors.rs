//! Errors that come late: fsync(2) and close(2) report that the written bytes are not stored. Then
//! no file gets the name, the exit code says so, and the sender is not told that all is well.

use std::io::{ErrorKind, Read, Write};
use std::process::{Command, Stdio};

use crate::support::{Dir, Outcome, Running, Stream, needs, underpass_by};

/// Runs `args` under strace, which makes one call fail; `None` if that cannot be done.
fn failing(inject: &str, args: &[&str]) -> Option<Command> {
    if !needs::tool("strace") {
        return None;
    }
    let inject = format!("inject={inject}");
    let before = ["-o", "/dev/null", "-e", &inject];
    Some(underpass_by("strace", &before, args))
}

/// Which close(2) call of a run of `command` closes something whose path contains `part`; 1 is the
/// first.
fn closing(args: &[&str], stdout: Option<&str>, part: &str) -> usize {
    let trace = Dir::in_memory();
    let log = trace.path("log");
    let mut command = underpass_by("strace", &["-y", "-o", &log, "-e", "trace=close"], args);
    if let Some(path) = stdout {
        command.stdout(std::fs::File::create(path).unwrap());
    }
    Running::start(command).finish().ok();
    let log = std::fs::read_to_string(log).unwrap();
    let calls = log.lines().filter(|line| line.starts_with("close("));
    let mut found = calls.enumerate().filter(|(_, line)| line.contains(part));
    1 + found.next().expect(part).0
}

#[test]
fn pitfall_27_a_failed_close_or_sync_leaves_nothing() {
    if !needs::tool("strace") {
        return;
    }
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    let sink = dir.path("sink");
    let args = ["copy", &source, &sink, "--receipt=none"];
    let nth = closing(&args, None, ".part");
    std::fs::remove_file(&sink).unwrap();
    let table = [
        (
            format!("close:error=EDQUOT:when={nth}"),
            "close: Disk quota",
        ),
        ("fsync:error=EIO:when=1".to_owned(), "fsync: Input/output"),
        ("fsync:error=ENOSPC:when=1".to_owned(), "fsync: No space"),
    ];
    for (inject, words) in &table {
        let outcome = Running::start(failing(inject, &args).unwrap()).finish();
        outcome.fails(1, &[&sink, words]);
        assert_eq!(dir.names(), ["source"], "{inject}");
    }
    // The same with an existing file, which stays.
    std::fs::write(&sink, b"old").unwrap();
    let args = ["copy", &source, &sink, "--receipt=none", "--force"];
    for (inject, words) in &table[1..] {
        let outcome = Running::start(failing(inject, &args).unwrap()).finish();
        outcome.fails(1, &[&sink, words]);
        assert_eq!(std::fs::read(&sink).unwrap(), b"old", "{inject}");
        assert_eq!(dir.names(), ["sink", "source"], "{inject}");
    }
}

/// Then the file is there, and nobody knows whether it stays: that is not a success.
#[test]
fn pitfall_26_a_directory_that_cannot_be_synced_is_told() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"content"), dir.path("sink"));
    let args = ["copy", &source, &sink, "--receipt=none"];
    let Some(command) = failing("fsync:error=EIO:when=2", &args) else {
        return;
    };
    let outcome = Running::start(command).finish();
    outcome.fails(1, &[&sink, "in place", "Input/output"]);
    assert_eq!(std::fs::read(sink).unwrap(), b"content");
}

/// The sender sees a reset, not an orderly end.
#[test]
fn pitfall_27_the_sender_is_told() {
    for inject in ["fsync:error=EIO:when=1", "fsync:error=EDQUOT:when=1"] {
        let dir = Dir::in_memory();
        let sink = dir.path("sink");
        let args = ["recv", "tcp://127.0.0.1:0", &sink, "--receipt=json"];
        let Some(command) = failing(inject, &args) else {
            return;
        };
        let (receiver, address) = Running::listening(command);
        let mut peer = Stream::connect(&address);
        peer.write_all(b"content").unwrap();
        peer.end();
        let error = peer.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let outcome = receiver.finish().fails(1, &[&sink, "fsync"]);
        assert!(!outcome.receipt().complete());
        assert_eq!(dir.names(), [""; 0]);
    }
}

/// An underpass sender is told over a Unix socket too, which has no reset.
#[test]
fn pitfall_27_a_sender_of_ours_is_told_by_either_kind_of_socket() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"content"), dir.path("sink"));
    for at in dir.listening_addresses() {
        let args = ["recv", &at, &sink, "--receipt=none"];
        let Some(command) = failing("fsync:error=EIO:when=1", &args) else {
            return;
        };
        let (receiver, address) = Running::listening(command);
        let sent = crate::support::run(&["send", &source, &address, "--receipt=none"]);
        sent.fails(3, &[&source, &address]);
        receiver.finish().fails(1, &[&sink, "fsync"]);
        assert_eq!(dir.names(), ["source"]);
    }
}

/// Standard output is a file, which gets the bytes themselves or the receipt.
#[test]
fn pitfall_27_a_failed_close_of_standard_output_is_told() {
    if !needs::tool("strace") {
        return;
    }
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    // The file exists in each run, because replacing a file takes other calls than making one.
    let (out, sink) = (dir.path("redirected"), dir.file("sink", b"old"));
    let table: [&[&str]; 4] = [
        &["copy", &source, "-", "--receipt=none"],
        &["copy", &source, &sink, "--receipt=json", "--force"],
        &["explain", &source, &sink, "--json"],
        &["man", "copy"],
    ];
    for args in table {
        let nth = closing(args, Some(&out), "redirected");
        let inject = format!("close:error=EDQUOT:when={nth}");
        let mut command = failing(&inject, args).unwrap();
        command.stdout(std::fs::File::create(&out).unwrap());
        let outcome = Running::start(command).finish();
        outcome.fails(1, &["standard output", "Disk quota"]);
    }
}

/// A full disk under a receipt that was asked for is reported; the copy itself is done.
#[test]
fn a_receipt_that_cannot_be_written_is_told() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    let full = || {
        std::fs::File::options()
            .write(true)
            .open("/dev/full")
            .unwrap()
    };
    for (options, code) in [(&["--receipt=json"][..], 1), (&[], 0)] {
        let sink = dir.path(&format!("sink{code}"));
        let mut command = crate::support::underpass(&[&["copy", &source, &sink], options].concat());
        command.stdout(full());
        let outcome: Outcome = Running::start(command).finish();
        assert_eq!(outcome.code, code, "{outcome:?}");
        if code == 1 {
            outcome.fails(1, &["standard output", "No space", "receipt", "is done"]);
        }
        assert_eq!(std::fs::read(sink).unwrap(), b"content");
    }
}

/// `ulimit -f`: one line is printed, and no part is left. The limit is 8 blocks of 1 KiB.
#[test]
fn pitfall_31_a_limit_on_file_sizes_is_an_error() {
    let dir = Dir::in_memory();
    let source = dir.file("source", &vec![7; 100_000]);
    for route in ["copy_file_range", "sendfile", "splice", "read-write"] {
        for options in [&[][..], &["--in-place"]] {
            let sink = dir.path("sink");
            let args = ["copy", &source, &sink, "--receipt=none", "--route", route];
            let outcome = limited(&[&args, options].concat());
            outcome.fails(1, &[&source, &sink, "File too large"]);
            let left = usize::from(!options.is_empty());
            assert_eq!(dir.names().len(), 1 + left, "{route} {options:?}");
            let _ = std::fs::remove_file(sink);
        }
    }
}

fn limited(args: &[&str]) -> Outcome {
    let mut command = Command::new("bash");
    command.args(["-c", "ulimit -f 8; exec \"$@\"", "bash"]);
    command.arg(env!("CARGO_BIN_EXE_underpass")).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    Running::start({
        command.stderr(Stdio::piped());
        command
    })
    .finish()
}
