//! Closed standard streams (`<&-`, `>&-`) are neither empty files nor sinks that accept everything.

use std::process::{Command, Stdio};

use crate::support::{Dir, Outcome, Running};

/// Runs `args` with a redirection by the shell.
fn shell(redirection: &str, args: &[&str]) -> Outcome {
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec \"$@\" {redirection}"), "sh"]);
    command.arg(env!("CARGO_BIN_EXE_underpass")).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    Running::start(command).finish()
}

#[test]
fn pitfall_28_a_closed_stream_that_is_needed_is_told_by_every_command() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    let precious = dir.file("precious", b"precious");
    let sink = dir.path("sink");
    let (here, nowhere) = ("127.0.0.1:0", "tcp://127.0.0.1:9");
    let input: [&[&str]; 6] = [
        &["copy", "-", &precious, "--force"],
        &["copy", "/dev/stdin", &precious, "--force"],
        &["copy", "-", &precious, "--in-place"],
        &["send", "-", nowhere],
        &["fan-out", "--listen", here, "--from", "-"],
        &["explain", "-", &sink],
    ];
    let output: [&[&str]; 18] = [
        &["copy", &source, "-"],
        &["copy", &source, "/dev/stdout"],
        &["copy", &source, "/dev/fd/1"],
        &["copy", &source, &sink, "--receipt=json"],
        &["copy", &source, &sink, "--receipt=human"],
        &["recv", "tcp://127.0.0.1:0", "-"],
        &["recv", "tcp://127.0.0.1:0", &sink, "--receipt=json"],
        &["send", &source, nowhere, "--receipt=json"],
        &["measure", "--json", "--quick"],
        &["measure", "--quick"],
        &["top", "--count=1", "--interval=100ms"],
        &["explain", &source, &sink],
        &["completions", "bash"],
        &["man"],
        &["--version"],
        &["serve", dir.root(), "--listen", here, "--access-log=json"],
        &[
            "relay",
            "--listen",
            here,
            "--to",
            "127.0.0.1:9",
            "--receipt=json",
        ],
        &[
            "fan-out",
            "--listen",
            here,
            "--from",
            &source,
            "--receipt=json",
        ],
    ];
    for args in input {
        shell("<&-", args).fails(1, &["standard input is closed"]);
    }
    for args in output {
        shell(">&-", args).fails(1, &["standard output is closed"]);
    }
    assert_eq!(dir.names(), ["precious", "source"]);
    assert_eq!(std::fs::read(precious).unwrap(), b"precious");
}

/// A stream that is open for reading only accepts nothing, like a closed one.
#[test]
fn pitfall_28_an_output_that_cannot_be_written_is_told() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    let sink = dir.path("sink");
    let output: [&[&str]; 6] = [
        &["copy", &source, &sink, "--receipt=json"],
        &["explain", &source, &sink],
        &["completions", "bash"],
        &["man"],
        &["--version"],
        &["--help"],
    ];
    for args in output {
        shell("1</dev/null", args).fails(1, &["standard output", "Bad file descriptor"]);
    }
    assert_eq!(std::fs::read(sink).unwrap(), b"content");
}

/// Receipts go to standard error if standard output carries the bytes. If standard error is closed,
/// only the exit code can report the failure.
#[test]
fn pitfall_28_a_closed_standard_error_takes_no_receipt() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    let outcome = shell("2>&-", &["copy", &source, "-", "--receipt=json"]);
    assert_eq!((outcome.code, outcome.text()), (1, ""));
}

/// Output that was not asked for needs no stream. And a stream that is open on /dev/null, in any
/// mode, is used as it is.
#[test]
fn streams_that_are_not_needed_may_be_closed() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    for (number, redirection) in ["<&- >&- 2>&-", ">&-", "<&-", "<>/dev/null >&0"]
        .into_iter()
        .enumerate()
    {
        let sink = dir.path(&number.to_string());
        shell(redirection, &["copy", &source, &sink]).ok();
        assert_eq!(std::fs::read(sink).unwrap(), b"content", "{redirection}");
    }
    for redirection in ["<>/dev/null", "</dev/null"] {
        let sink = dir.path("empty");
        shell(redirection, &["copy", "-", &sink, "--force"]).ok();
        assert_eq!(std::fs::read(sink).unwrap(), b"");
    }
    for redirection in ["1<>/dev/null", ">/dev/null", ">>/dev/null"] {
        shell(redirection, &["copy", &source, "-"]).ok();
    }
}
