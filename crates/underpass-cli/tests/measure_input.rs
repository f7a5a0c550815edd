//! `underpass measure` with invalid arguments, files and directories.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Dir, Mount, Running, run, underpass, unprivileged};

const FIXTURE: &str = include_str!("../../underpass-measure/tests/page/report.json");

#[test]
fn arguments_that_cannot_be_right_are_answered_with_those_that_can() {
    let table: &[(&str, &[&str])] = &[
        ("--html page.html --lang fr", &["\"fr\"", "en", "zh"]),
        ("--lang zh", &["--html"]),
        ("--sizes 0", &["--sizes", "0 bytes"]),
        ("--sizes 3X", &["--sizes", "\"X\"", "use K, M, G, T"]),
        ("--rounds 0", &["--rounds", "1..=1000"]),
        (
            "--ways tcp",
            &[
                "\"tcp\"",
                "read-write, mmap-write, sendfile, splice, send-zerocopy, underpass, \
                 tls-read-write, tls-seal, tls-sendfile",
            ],
        ),
        (
            "--links eth0",
            &["\"eth0\"", "loopback, veth, veth-no-gather"],
        ),
        ("--from kept.json --quick", &["--from", "--quick"]),
    ];
    let dir = Dir::in_memory();
    for (args, words) in table {
        let args: Vec<_> = ["measure"].into_iter().chain(args.split(' ')).collect();
        let mut command = underpass(&args);
        command.current_dir(dir.root());
        let outcome = Running::start(command).finish();
        assert_eq!(outcome.code, 2, "{outcome:?}");
        assert_eq!(outcome.text(), "");
        for word in *words {
            assert!(outcome.stderr.contains(word), "no {word:?}: {outcome:?}");
        }
    }
    assert_eq!(dir.names(), [""; 0]);
}

#[test]
fn what_is_no_report_is_named_and_nothing_is_drawn() {
    let dir = Dir::in_memory();
    let page = dir.path("page.html");
    let missing = dir.path("missing");
    let text = dir.file("text", b"not JSON\n");
    let other = dir.file("other", b"{\"form\":\"underpass-measure/1\"}");
    let newer = FIXTURE.replacen("underpass-measure/1", "underpass-measure/9", 1);
    let newer = dir.file("newer", newer.as_bytes());
    let fails = |file: &str, words: &[&str]| {
        let words = [&[file], words].concat();
        run(&["measure", "--from", file, "--html", &page]).fails(1, &words);
    };
    fails(&missing, &["No such file"]);
    fails(dir.root(), &["directory"]);
    fails(&text, &["not a report"]);
    fails(&other, &["not a report", "version"]);
    fails(&newer, &["underpass-measure/9", "underpass-measure/1"]);
    assert_eq!(dir.names(), ["newer", "other", "text"]);
}

#[test]
fn a_page_that_cannot_be_written_is_named() {
    let dir = Dir::in_memory();
    let kept = dir.file("kept", FIXTURE.as_bytes());
    let page = dir.path("missing/page.html");
    let outcome = run(&["measure", "--from", &kept, "--html", &page]);
    assert_eq!(outcome.text(), "");
    outcome.fails(1, &[&page, "there is no directory", "mkdir -p"]);
}

/// Like `underpass measure | head -1`.
#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let dir = Dir::in_memory();
    let kept = dir.file("report.json", FIXTURE.as_bytes());
    let mut running = Running::start(underpass(&["measure", "--from", &kept]));
    drop(running.stdout());
    assert_eq!(running.finish().ok().stderr, "");
}

const COUNT: [&str; 5] = ["measure", "--counts-only", "--links", "loopback", "--dir"];

#[test]
fn directories_that_no_file_can_be_made_in() {
    let dir = Dir::in_memory();
    let file = dir.file("file", b"");
    for (place, why) in [
        (dir.path("missing"), "No such file"),
        (file, "Not a directory"),
    ] {
        let args = [&COUNT[..], &[&place]].concat();
        run(&args).fails(1, &[&place, why, "--dir"]);
    }
}

#[test]
fn a_directory_that_one_may_not_write_to() {
    let dir = Dir::in_memory();
    std::fs::set_permissions(dir.root(), Permissions::from_mode(0o555)).unwrap();
    let args = [&COUNT[..], &[dir.root()]].concat();
    if let Some(command) = unprivileged(&args) {
        let outcome = Running::start(command).finish();
        outcome.fails(1, &[dir.root(), "Permission denied", "--dir"]);
    }
}

#[test]
fn a_read_only_file_system() {
    if let Some(mount) = Mount::tmpfs("ro") {
        let root = mount.root();
        let args = [&COUNT[..], &[&root]].concat();
        run(&args).fails(1, &[&root, "Read-only file system", "--dir"]);
    }
}

#[test]
fn a_file_system_without_room() {
    if let Some(mount) = Mount::tmpfs("size=1m") {
        let root = mount.root();
        let args = [&COUNT[..], &[&root]].concat();
        run(&args).fails(1, &[&root, "has 1 MiB free", "--sizes, --quick", "--dir"]);
        let left = std::fs::read_dir(&root).unwrap().count();
        assert_eq!(left, 0);
    }
}
