//! Receipts and progress as people see them: one line, whole with `-v`, and on a terminal.

use std::io::Write;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, Mode, mkfifoat};
use unicode_width::UnicodeWidthStr;

use crate::support::{Dir, Host, Relay, Running, Terminal, bytes, run, underpass};

/// The only line of `text`.
#[track_caller]
fn only_line(text: &str) -> &str {
    let line = text.strip_suffix('\n').expect(text);
    assert!(!line.contains('\n'), "{text:?}");
    line
}

#[test]
fn a_copy_is_one_line_or_with_verbose_the_whole_receipt() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(7, 300_000));
    let sink = dir.path("out");
    let copied = run(&["copy", &source, &sink]).ok();
    let line = only_line(copied.text());
    let begin = format!("copied {source} to {sink}: 293 KiB in ");
    assert!(line.starts_with(&begin), "{line}");
    assert!(
        line.contains("iB/s), all of it copied once by the CPU: "),
        "{line}"
    );
    assert_eq!(copied.stderr, "");
    let whole = run(&["copy", &source, &sink, "--force", "-v"]).ok();
    for word in [
        "293 KiB (300,000 bytes)",
        "route ",
        "CPU copies",
        "expected",
        "switches",
    ] {
        assert!(whole.text().contains(word), "no {word} in {}", whole.text());
    }
    assert!(whole.stderr.contains("plan: "), "{}", whole.stderr);
    let json = run(&["copy", &source, &sink, "--force", "-v", "--receipt=json"]).ok();
    assert_eq!(json.receipt().number("bytes"), 300_000);
    let quiet = run(&["copy", &source, &sink, "--force", "-q"]).ok();
    assert_eq!((quiet.text(), &*quiet.stderr), ("", ""));
}

#[test]
fn what_was_sent_and_received_is_said_by_both() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(8, 1 << 20));
    let (sink, socket) = (dir.path("out"), format!("unix:{}", dir.path("socket")));
    let (receiver, address) = Running::recv(&[&socket, &sink]);
    let sent = run(&["send", &source, &address]).ok();
    let line = only_line(sent.text());
    assert!(
        line.starts_with(&format!("sent {source}: 1.0 MiB in ")),
        "{line}"
    );
    assert!(line.ends_with(", none of it copied by the CPU"), "{line}");
    let outcome = receiver.finish().ok();
    let line = only_line(outcome.text());
    assert!(
        line.starts_with(&format!("received {sink}: 1.0 MiB in ")),
        "{line}"
    );
    let why = ", all of it copied once by the CPU: into page cache";
    assert!(line.ends_with(why), "{line}");
}

#[test]
fn one_is_one() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"x");
    let copied = run(&["copy", &source, &dir.path("out")]).ok();
    assert!(copied.text().contains(": 1 byte in "), "{}", copied.text());
    let tree = dir.path("tree");
    std::fs::create_dir(&tree).unwrap();
    std::fs::write(format!("{tree}/a"), b"x").unwrap();
    let (receiver, address) = Running::recv(&["127.0.0.1:0", &dir.path("made/")]);
    let sent = run(&["send", &tree, &address]).ok();
    let line = only_line(sent.text());
    assert!(
        line.starts_with(&format!("sent {tree}: 1 file, ")),
        "{line}"
    );
    assert_eq!(sent.stderr, "", "the line says it");
    let outcome = receiver.finish().ok();
    assert!(
        outcome.text().contains("made/: 1 file, "),
        "{}",
        outcome.text()
    );
}

#[test]
fn a_relayed_connection_is_one_line() {
    let host = Host::tcp();
    let relay = Relay::to(&host.address(), &["--receipt", "human"]);
    let mut client = relay.connect();
    client.write_all(b"x").unwrap();
    let mut far = host.accept();
    assert_eq!(far.read_exactly(1), b"x");
    drop((client, far));
    let outcome = relay.stop();
    let line = only_line(outcome.text());
    assert!(line.contains("; 1 byte up, 0 bytes down"), "{line}");
    assert!(
        line.ends_with(", all of it copied twice by the CPU: read and written again"),
        "{line}"
    );
}

#[test]
fn a_target_that_cannot_be_reached_is_told_once() {
    let dir = Dir::in_memory();
    let missing = format!("unix:{}", dir.path("missing"));
    let mut relay = Relay::to(&missing, &[]);
    for _ in 0..3 {
        relay.connect().drain().unwrap_err();
    }
    let line = relay.running.line();
    let told = format!("underpass: target {missing} cannot be reached: No such file");
    assert!(line.starts_with(&told), "{line}");
    assert_eq!(relay.stop().ok().stderr, "");
}

#[test]
fn send_waits_for_someone_who_listens() {
    let dir = Dir::in_memory();
    let source = dir.file("in", b"content");
    let (sink, socket) = (dir.path("out"), format!("unix:{}", dir.path("socket")));
    let mut sender = Running::start(underpass(&["send", &source, &socket, "--wait"]));
    let line = sender.line();
    assert!(
        line.ends_with(": nobody listens there yet; waiting"),
        "{line}"
    );
    let (receiver, _) = Running::recv(&[&socket, &sink]);
    sender.finish().ok();
    receiver.finish().ok();
    assert_eq!(std::fs::read(sink).unwrap(), b"content");
}

#[test]
fn text_goes_to_a_terminal_and_other_data_does_not() {
    let dir = Dir::in_memory();
    let (text, data) = (dir.file("text", b"a note"), dir.file("data", b"a\0b"));
    let shown = Terminal::start(&["copy", &text, "-"]).rest();
    let (note, receipt) = shown.split_once("\r\n").expect(&shown);
    assert_eq!(note, "a note");
    assert!(receipt.contains("copied "), "{shown}");
    assert!(receipt.contains(": the target is a terminal"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no progress: {shown:?}");
    let refused = Terminal::start(&["copy", &data, "-"]).rest();
    assert!(
        refused.contains("is not text") && !refused.contains('\0'),
        "{refused:?}"
    );
    run(&["copy", &data, "-"]).ok();
}

#[test]
fn progress_fits_the_terminal() {
    let dir = Dir::in_memory();
    for (columns, name) in [
        (20, "in"),
        (
            80,
            "照片和视频的备份文件夹二〇二六年十一月-照片和视频的备份.tar",
        ),
        (
            80,
            "👩‍👩‍👧‍👦 family 🏳️‍🌈 2026 👍🏽 photos and films and more of them.tar",
        ),
        (300, "in"),
    ] {
        let (source, sink) = (dir.path(name), dir.path("out"));
        mkfifoat(CWD, &source, Mode::RUSR | Mode::WUSR).unwrap();
        let mut terminal = Terminal::of(underpass(&["copy", &source, &sink]), columns);
        let mut pipe = std::fs::OpenOptions::new()
            .write(true)
            .open(&source)
            .unwrap();
        // It is drawn some time after the beginning, when bytes move.
        let begun = Instant::now();
        while !terminal.seen().contains("\u{1b}[K") {
            assert!(begun.elapsed() < Duration::from_secs(60), "no progress");
            pipe.write_all(&[7; 1000]).unwrap();
        }
        drop(pipe);
        let shown = terminal.rest();
        let drawn: Vec<_> = shown.split("\u{1b}[K").collect();
        let (receipt, lines) = drawn.split_last().unwrap();
        for line in lines {
            let line = line.trim_start_matches('\r');
            assert!(line.width() < usize::from(columns), "{columns}: {line:?}");
            assert!(!line.contains('\n'), "{line:?}");
        }
        assert!(lines.iter().any(|line| line.contains("iB")), "{shown:?}");
        assert!(
            receipt.starts_with(&format!("copied {source} to ")),
            "{shown:?}"
        );
        std::fs::remove_file(source).unwrap();
        std::fs::remove_file(sink).unwrap();
    }
}
