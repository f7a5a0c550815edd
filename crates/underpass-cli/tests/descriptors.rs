//! A name that leads to an open descriptor means that descriptor: its offset and O_APPEND apply,
//! and no file is replaced.

use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::support::{Dir, Outcome, Running, Stream};

/// Runs a line of bash in the test's directory; `$U` is the program.
fn shell(dir: &Dir, line: &str) -> Outcome {
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(dir.root());
    command.env("U", env!("CARGO_BIN_EXE_underpass"));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::piped());
    Running::start(command).finish()
}

#[test]
fn a_name_of_a_descriptor_is_the_descriptor() {
    let dir = Dir::in_memory();
    dir.file("a", b"new\n");
    symlink("/proc/self/fd/1", dir.path("link")).unwrap();
    symlink("link", dir.path("link to it")).unwrap();
    let sinks = [
        ("/dev/stdout", ">>f"),
        ("/dev/stdout --force", ">>f"),
        ("/dev/stdout --in-place", ">>f"),
        ("/dev/fd/1", ">>f"),
        ("/proc/self/fd/1", ">>f"),
        ("/proc/thread-self/fd/1", ">>f"),
        ("link", ">>f"),
        ("'link to it'", ">>f"),
        ("/dev/stderr", "2>>f"),
        ("/dev/fd/7", "7>>f"),
        ("/proc/self/fd/7 --force", "7>>f"),
    ];
    for (sink, redirection) in sinks {
        dir.file("f", b"old\n");
        shell(&dir, &format!("$U copy a {sink} -q {redirection}")).ok();
        let found = std::fs::read_to_string(dir.path("f")).unwrap();
        assert_eq!(found, "old\nnew\n", "{sink} {redirection}");
    }
    // Its offset: the shell writes before the copy, and continues after it.
    shell(&dir, "(echo 1; $U copy a /dev/stdout -q; echo 2) > f").ok();
    assert_eq!(std::fs::read(dir.path("f")).unwrap(), b"1\nnew\n2\n");
    let sources = [
        "/dev/stdin -q <a",
        "/dev/fd/7 -q 7<a",
        "/proc/self/fd/7 -q 7<a",
    ];
    for source in sources {
        let (name, rest) = source.split_once(' ').unwrap();
        shell(&dir, &format!("$U copy {name} f --force {rest}")).ok();
        assert_eq!(std::fs::read(dir.path("f")).unwrap(), b"new\n", "{source}");
    }
    assert!(std::fs::read_link(dir.path("link")).is_ok());
    assert_eq!(dir.names(), ["a", "f", "link", "link to it"]);
}

/// `measure --html` is not a sink of a transfer, but writes to a name as well.
#[test]
fn a_page_goes_to_the_descriptor_too() {
    let dir = Dir::in_memory();
    dir.file("f", b"old\n");
    let report = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../lab/runs/2026-11-24-measure/here.json"
    );
    if !std::path::Path::new(report).exists() {
        crate::support::needs::lacking("the runs of the lab are not here");
        return;
    }
    for sink in ["/dev/fd/7", "/dev/stderr"] {
        let line = format!("$U measure --from {report} --html {sink} 7>>f 2>>f");
        shell(&dir, &line).ok();
        let found = std::fs::read_to_string(dir.path("f")).unwrap();
        assert!(found.starts_with("old\n<!"), "{sink}: {}", &found[..40]);
        dir.file("f", b"old\n");
    }
}

/// A receipt does not get in between the bytes, whichever descriptor leads to standard output.
#[test]
fn receipts_keep_away_from_the_bytes() {
    let dir = Dir::in_memory();
    dir.file("a", b"new\n");
    for sink in ["-", "/dev/stdout", "/dev/fd/7"] {
        let outcome = shell(&dir, &format!("$U copy a {sink} --receipt json 7>&1")).ok();
        assert_eq!(outcome.text(), "new\n", "{sink}");
        assert!(outcome.stderr.contains("\"complete\":true"), "{sink}");
    }
}

#[test]
fn recv_writes_to_a_descriptor_too() {
    let dir = Dir::in_memory();
    dir.file("f", b"old ");
    let line = "$U recv tcp://127.0.0.1:0 /dev/fd/7 --receipt=none 7>>f";
    let mut command = Command::new("bash");
    command.args(["-c", line]).current_dir(dir.root());
    command.env("U", env!("CARGO_BIN_EXE_underpass"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let (receiver, address) = Running::listening(command);
    let mut peer = Stream::connect(&address);
    std::io::Write::write_all(&mut peer, b"new").unwrap();
    peer.end();
    receiver.finish().ok();
    assert_eq!(std::fs::read(dir.path("f")).unwrap(), b"old new");
}

#[test]
fn a_descriptor_that_is_not_open_is_named() {
    let dir = Dir::in_memory();
    dir.file("a", b"x");
    // The program's own descriptors, too: 3 and 4 are the first that it opens itself.
    for number in [3, 4, 5, 77] {
        let name = format!("/dev/fd/{number}");
        shell(&dir, &format!("$U copy a {name}")).fails(1, &[&name, "not open"]);
        shell(&dir, &format!("$U copy {name} b")).fails(1, &[&name, "not open"]);
    }
    assert_eq!(dir.names(), ["a"]);
}

/// This is reported before a peer connects and sends in vain.
#[test]
fn a_descriptor_that_is_open_the_other_way_is_named() {
    let dir = Dir::in_memory();
    dir.file("a", b"x");
    let nowhere = "unix:nobody-listens-here";
    let (reading, writing) = ("is not open for reading", "is not open for writing");
    for (line, why) in [
        (format!("$U send - {nowhere} 0>>a"), reading),
        (format!("$U send /dev/fd/7 {nowhere} 7>>a"), reading),
        ("$U copy - b 0>>a".to_owned(), reading),
        (
            "$U fan-out --listen 127.0.0.1:0 --from - 0>>a".to_owned(),
            reading,
        ),
        ("$U recv tcp://127.0.0.1:0 - 1<a".to_owned(), writing),
        (
            "$U recv tcp://127.0.0.1:0 /dev/fd/7 7<a".to_owned(),
            writing,
        ),
        ("$U copy /dev/null /dev/stdout 1<a".to_owned(), writing),
    ] {
        shell(&dir, &line).fails(2, &[why]);
    }
    assert_eq!(dir.names(), ["a"]);
}

/// cat(1) refuses this too: the file would be read while it grows.
#[test]
fn what_is_read_is_not_written_to() {
    let dir = Dir::in_memory();
    let content = b"0123456789";
    dir.file("f", content);
    std::fs::hard_link(dir.path("f"), dir.path("other name")).unwrap();
    let lines = [
        "$U copy f - >>f",
        "$U copy f - --range 0..2 >>f",
        "$U copy f /dev/stdout >>f",
        "$U copy f /dev/fd/7 7>>f",
        "$U copy 'other name' - >>f",
        "$U copy - - <f >>f",
        "$U copy - f --force <f",
        "$U copy - f --in-place <f",
        "$U copy /dev/stdin 'other name' --force <f",
        "$U copy f - 1<>f",
        "$U fan-out --listen 127.0.0.1:0 --from f --receipt json >>f",
        "$U fan-out --listen 127.0.0.1:0 --from - --receipt json <f >>f",
    ];
    for line in lines {
        shell(&dir, line).fails(2, &["are the same file"]);
        assert_eq!(std::fs::read(dir.path("f")).unwrap(), content, "{line}");
    }
    assert_eq!(dir.names(), ["f", "other name"]);
}
