//! Files with holes: holes stay holes, and a file over 4 GiB with little data is copied at once.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::support::{Dir, MIB, Mount, bytes, run};

const GIB: u64 = 1 << 30;
const SIZE: u64 = 5 * GIB;

/// A file of 5 GiB with data at the start and past 4 GiB, and a hole at the end.
fn make_sparse(path: &str) {
    let file = File::create(path).unwrap();
    file.set_len(SIZE).unwrap();
    for (seed, at) in [(80, 0), (81, 4 * GIB + 12_345)] {
        file.write_all_at(&bytes(seed, MIB), at).unwrap();
    }
}

/// The parts of a file that have data, as its file system reports them.
fn extents(file: &File) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        match seek(file, SeekFrom::Data(at)) {
            Ok(start) => {
                at = seek(file, SeekFrom::Hole(start)).unwrap();
                found.push((start, at));
            }
            Err(Errno::NXIO) => return found,
            Err(errno) => panic!("lseek: {errno}"),
        }
    }
}

/// Checks that both have the same length and data, and holes everywhere else. Reading 10 GiB of
/// zeros would not show more.
fn assert_same_sparse(one: &str, other: &str) {
    let (one, other) = (File::open(one).unwrap(), File::open(other).unwrap());
    assert_eq!(
        one.metadata().unwrap().len(),
        other.metadata().unwrap().len()
    );
    let both = [extents(&one), extents(&other)].concat();
    assert!(!both.is_empty());
    for (start, end) in both {
        let mut content = [
            vec![0; (end - start) as usize],
            vec![0; (end - start) as usize],
        ];
        one.read_exact_at(&mut content[0], start).unwrap();
        other.read_exact_at(&mut content[1], start).unwrap();
        assert!(content[0] == content[1], "bytes {start}..{end} differ");
    }
}

fn blocks(path: &str) -> u64 {
    std::fs::metadata(path).unwrap().blocks()
}

fn stays_sparse(route: &str, path: impl Fn(&str) -> String) {
    let (source, sink) = (path("source"), path(route));
    make_sparse(&source);
    let args = ["copy", &source, &sink, "--route", route, "--receipt=json"];
    let copied = run(&args).ok();
    copied.receipt().assert_route(route, SIZE as usize);
    // Two pieces of 1 MiB, rounded up to blocks.
    let holes = SIZE - copied.receipt().number("hole_bytes");
    assert!(holes < 3 * MIB as u64, "{holes} bytes were moved");
    assert!(
        blocks(&sink) <= blocks(&source) + 64,
        "{} blocks",
        blocks(&sink)
    );
    assert_same_sparse(&source, &sink);
}

#[test]
fn over_4_gib_with_holes_by_every_route() {
    let dir = Dir::in_memory();
    for route in ["copy_file_range", "sendfile", "splice", "read-write"] {
        stays_sparse(route, |name| dir.path(name));
    }
}

#[test]
fn over_4_gib_with_holes_on_ext4() {
    if let Some(mount) = Mount::of("ext4") {
        stays_sparse("copy_file_range", |name| mount.path(name));
    }
}

/// A reflink shares holes as it shares extents: none is skipped.
#[test]
fn over_4_gib_with_holes_by_reflink() {
    let Some(mount) = Mount::of("btrfs") else {
        return;
    };
    let (source, sink) = (mount.path("source"), mount.path("sink"));
    make_sparse(&source);
    let copied = run(&["copy", &source, &sink, "--receipt=json"]).ok();
    copied.receipt().assert_route("reflink", SIZE as usize);
    assert!(blocks(&sink) < 8 * MIB as u64 / 512);
    assert_same_sparse(&source, &sink);
}

#[test]
fn a_file_of_nothing_but_a_hole_keeps_its_length() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.path("source"), dir.path("sink"));
    File::create(&source).unwrap().set_len(SIZE).unwrap();
    let copied = run(&["copy", &source, &sink, "--receipt=json"]).ok();
    assert_eq!(copied.receipt().number("hole_bytes"), SIZE);
    assert_eq!(std::fs::metadata(&sink).unwrap().len(), SIZE);
    assert_eq!(blocks(&sink), 0);
}

/// The copy of a range that begins and ends in holes has the same zeros and the same length.
#[test]
fn a_range_between_holes_is_exact() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.path("source"), dir.path("sink"));
    make_sparse(&source);
    run(&["copy", &source, &sink, "--range", "4294967296..4300000000"]).ok();
    let mut want = vec![0; 4_300_000_000 - (4 << 30)];
    want[12_345..12_345 + MIB].copy_from_slice(&bytes(81, MIB));
    assert!(std::fs::read(sink).unwrap() == want);
}
