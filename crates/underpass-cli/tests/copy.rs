//! `copy` as people use it: names, permissions, what is refused, and what is replaced.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};

use crate::support::{Dir, MIB, Mount, Running, bytes, mode, run};

#[test]
fn a_directory_as_the_target_takes_the_sources_name() {
    let dir = Dir::in_memory();
    let source = dir.file("name", b"content");
    std::fs::create_dir(dir.path("into")).unwrap();
    run(&["copy", &source, &dir.path("into")]).ok();
    assert_eq!(std::fs::read(dir.path("into/name")).unwrap(), b"content");
    run(&["copy", "-", &dir.path("into")]).fails(2, &[&dir.path("into"), "no name"]);
}

#[test]
fn permissions_are_the_sources_less_the_umask() {
    let dir = Dir::in_memory();
    let program = env!("CARGO_BIN_EXE_underpass");
    let table = [
        ("022", 0o755, 0o755),
        ("027", 0o754, 0o750),
        ("0", 0o600, 0o600),
    ];
    for (umask, of_source, want) in table {
        let source = dir.file("source", b"x");
        std::fs::set_permissions(&source, PermissionsExt::from_mode(of_source)).unwrap();
        let sink = dir.path(umask);
        let line = format!("umask {umask}; exec {program} copy {source} {sink} --quiet");
        let mut command = Command::new("sh");
        command
            .args(["-c", &line])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Running::start(command).finish().ok();
        assert_eq!(mode(&sink), want, "umask {umask}");
    }
}

/// Bits that would make the copy run as its owner are not copied.
#[test]
fn set_user_id_is_not_copied() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"x");
    std::fs::set_permissions(&source, PermissionsExt::from_mode(0o4755)).unwrap();
    run(&["copy", &source, &dir.path("sink")]).ok();
    assert_eq!(mode(&dir.path("sink")) & 0o7000, 0);
}

#[test]
fn an_existing_file_is_replaced_only_by_force() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"new");
    let sink = dir.file("sink", &bytes(50, MIB));
    run(&["copy", &source, &sink]).fails(1, &[&sink, "exists", "--force"]);
    assert!(std::fs::read(&sink).unwrap() == bytes(50, MIB));
    run(&["copy", &source, &sink, "--force"]).ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"new");
    assert_eq!(dir.names(), ["sink", "source"]);
}

/// A reader that has the old file open keeps it: the new file takes the name, not the place on
/// disk.
#[test]
fn a_replaced_file_stays_whole_for_its_readers() {
    use std::io::Read;
    let dir = Dir::in_memory();
    let source = dir.file("source", b"new");
    let sink = dir.file("sink", b"old content");
    let mut reader = std::fs::File::open(&sink).unwrap();
    run(&["copy", &source, &sink, "--force"]).ok();
    let mut content = String::new();
    reader.read_to_string(&mut content).unwrap();
    assert_eq!(content, "old content");
}

#[test]
fn the_same_file_under_any_name_is_refused() {
    let dir = Dir::in_memory();
    let file = dir.file("file", b"content");
    std::fs::hard_link(&file, dir.path("hard")).unwrap();
    symlink("file", dir.path("soft")).unwrap();
    for other in ["file", "hard", "soft"] {
        let other = dir.path(other);
        let same = run(&["copy", &file, &other, "--force"]);
        same.fails(2, &[&file, &other, "the same file"]);
    }
    run(&["copy", &file, dir.root(), "--force"]).fails(2, &["the same file"]);
    assert_eq!(std::fs::read(file).unwrap(), b"content");
}

#[test]
fn a_link_is_followed_at_both_ends() {
    let dir = Dir::in_memory();
    dir.file("source", b"new");
    let real = dir.file("real", b"old");
    symlink("source", dir.path("from")).unwrap();
    symlink("real", dir.path("to")).unwrap();
    run(&["copy", &dir.path("from"), &dir.path("to"), "--force"]).ok();
    assert_eq!(std::fs::read(real).unwrap(), b"new");
    assert!(
        std::fs::read_link(dir.path("to")).is_ok(),
        "the link is a link still"
    );
}

#[test]
fn a_link_to_nothing_is_refused() {
    let dir = Dir::in_memory();
    let (source, link) = (dir.file("source", b"x"), dir.path("link"));
    symlink("nothing", &link).unwrap();
    run(&["copy", &source, &link, "--force"]).fails(1, &[&link, "link"]);
    run(&["copy", &link, &dir.path("sink")]).fails(1, &[&link]);
    assert_eq!(dir.names(), ["link", "source"]);
}

#[test]
fn an_empty_file_is_copied() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"");
    let copied = run(&["copy", &source, &dir.path("sink"), "--receipt=json"]).ok();
    assert!(copied.receipt().complete());
    assert_eq!(copied.receipt().number("bytes"), 0);
    assert_eq!(std::fs::read(dir.path("sink")).unwrap(), b"");
}

/// Files under /proc report size 0, but are not empty.
#[test]
fn pitfall_03_files_without_a_size_are_read_to_their_end() {
    let dir = Dir::in_memory();
    let content = std::fs::read("/proc/version").unwrap();
    let copied = run(&["copy", "/proc/version", &dir.path("sink"), "--receipt=json"]).ok();
    let receipt = copied.receipt();
    receipt.assert_route("read-write", content.len());
    assert_eq!(receipt.party("source"), ("pseudo_file", "/proc/version"));
    assert_eq!(std::fs::read(dir.path("sink")).unwrap(), content);
}

#[test]
fn a_full_disk_leaves_nothing() {
    let Some(small) = Mount::tmpfs("size=1m") else {
        return;
    };
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", &bytes(51, 4 * MIB)), small.path("sink"));
    for route in ["sendfile", "splice", "read-write"] {
        let args = ["copy", &source, &sink, "--receipt=none", "--route", route];
        run(&args).fails(1, &[&source, &sink, "No space left"]);
        assert_eq!(std::fs::read_dir(small.root()).unwrap().count(), 0);
    }
}

#[test]
fn a_missing_directory_is_named() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"x"), dir.path("missing/sink"));
    run(&["copy", &source, &sink]).fails(1, &[&sink]);
    let sink = dir.path("source/sink");
    run(&["copy", &source, &sink]).fails(1, &[&sink]);
    assert_eq!(dir.names(), ["source"]);
}

#[test]
fn names_need_not_be_text() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let dir = Dir::in_memory();
    let source = dir.file("source", b"content");
    let name = std::path::Path::new(dir.root()).join(OsStr::from_bytes(b"\xff \n'"));
    let mut command = crate::support::underpass(&["copy", &source]);
    command.arg(&name);
    Running::start(command).finish().ok();
    assert_eq!(std::fs::read(name).unwrap(), b"content");
}
