//! `copy` on real file systems: on each, the expected route is taken and the content is right.

use crate::support::{Dir, MIB, Mount, assert_same, bytes, run};

const LENGTH: usize = 8 * MIB + 1;

/// Copies within the file system that `path` leads to, to a new file and over a longer one.
fn copies_by(route: &str, cpu_bytes: Option<usize>, path: impl Fn(&str) -> String) {
    let (source, sink) = (path("source"), path("sink"));
    std::fs::write(&source, bytes(60, LENGTH)).unwrap();
    for options in [&["--receipt=json"][..], &["--receipt=json", "--force"]] {
        let copied = run(&[&["copy", &source, &sink], options].concat()).ok();
        copied.receipt().assert_route(route, LENGTH);
        let cpu_bytes = cpu_bytes.map(|count| count as u64);
        assert_eq!(copied.receipt().cpu_bytes(), cpu_bytes);
        assert_same(&source, &sink);
        // FICLONE would not change the rest of a longer file (pitfall 8).
        std::fs::write(&sink, bytes(61, 2 * LENGTH)).unwrap();
    }
}

#[test]
fn tmpfs_copies_in_the_kernel() {
    let dir = Dir::in_memory();
    copies_by("copy_file_range", Some(LENGTH), |name| dir.path(name));
}

#[test]
fn ext4_copies_in_the_kernel() {
    if let Some(mount) = Mount::of("ext4") {
        copies_by("copy_file_range", Some(LENGTH), |name| mount.path(name));
    }
}

#[test]
fn pitfall_08_btrfs_shares_extents() {
    if let Some(mount) = Mount::of("btrfs") {
        copies_by("reflink", Some(0), |name| mount.path(name));
        a_shared_extent_is_not_shared_content(&mount);
    }
}

#[test]
fn pitfall_08_xfs_shares_extents() {
    if let Some(mount) = Mount::of("xfs") {
        copies_by("reflink", Some(0), |name| mount.path(name));
        a_shared_extent_is_not_shared_content(&mount);
    }
}

/// A write to one file is not visible in the other.
fn a_shared_extent_is_not_shared_content(mount: &Mount) {
    use std::os::unix::fs::FileExt;
    let (source, sink) = (mount.path("source"), mount.path("clone"));
    run(&["copy", &source, &sink, "--route", "reflink"]).ok();
    let file = std::fs::OpenOptions::new().write(true).open(&source);
    file.unwrap().write_all_at(b"changed", 4096).unwrap();
    assert!(std::fs::read(sink).unwrap() == bytes(60, LENGTH));
}

/// Extents are shared in whole blocks. A range that begins or ends inside a block needs another
/// route, and gets one.
#[test]
fn a_range_on_a_cloning_file_system_is_exact() {
    let Some(mount) = Mount::of("btrfs") else {
        return;
    };
    let content = bytes(62, MIB);
    let source = mount.path("source");
    std::fs::write(&source, &content).unwrap();
    for (range, start, end) in [
        ("4K..8K", 4096, 8192),
        ("1..5000", 1, 5000),
        ("9999..", 9999, MIB),
    ] {
        let sink = mount.path(range);
        let copied = run(&["copy", &source, &sink, "--range", range, "--receipt=json"]).ok();
        assert!(copied.receipt().complete());
        assert!(
            std::fs::read(sink).unwrap() == content[start..end],
            "{range}"
        );
    }
}

#[test]
fn between_file_systems_the_page_cache_is_copied() {
    let Some(mount) = Mount::of("ext4") else {
        return;
    };
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", &bytes(63, LENGTH)), mount.path("sink"));
    let copied = run(&["copy", &source, &sink, "--receipt=json"]).ok();
    copied.receipt().assert_route("sendfile", LENGTH);
    assert_eq!(copied.receipt().cpu_bytes(), Some(LENGTH as u64));
    assert_same(&source, &sink);
}

/// Both are tmpfs, so whether copy_file_range works is up to the kernel. If it refuses, the next
/// route is taken, and the receipt says so.
#[test]
fn between_two_of_a_kind_the_bytes_arrive_by_some_route() {
    let Some(mount) = Mount::tmpfs("size=32m") else {
        return;
    };
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", &bytes(64, LENGTH)), mount.path("sink"));
    let copied = run(&["copy", &source, &sink, "--receipt=json"]).ok();
    assert!(["copy_file_range", "sendfile"].contains(&copied.receipt().route()));
    assert_same(&source, &sink);
}
