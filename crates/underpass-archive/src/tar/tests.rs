use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;
use crate::walk::{Entry, Walk};

/// An archive of a tree, in memory.
fn archive(root: &Path, name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for entry in Walk::new(root, name).unwrap() {
        let entry = entry.unwrap();
        add(&mut out, &entry, &Member::new(&entry));
    }
    out.extend_from_slice(END);
    out
}

fn add(out: &mut Vec<u8>, entry: &Entry, member: &Member<'_>) {
    let before = out.len() as u64;
    out.extend_from_slice(&member.header());
    if member.content_len() > 0 {
        let mut file = entry.open().unwrap();
        file.read_to_end(out).unwrap();
    }
    out.resize(out.len() + padding(member.content_len()) as usize, 0);
    assert_eq!(out.len() as u64 - before, member.len());
}

/// A path, a link and a content.
type Found = (Vec<u8>, Option<Vec<u8>>, Vec<u8>);

/// What the crate `tar` finds in an archive.
fn read(bytes: &[u8]) -> Vec<Found> {
    let mut archive = ::tar::Archive::new(bytes);
    let entries = archive.entries().unwrap();
    entries
        .map(|entry| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            let link = entry.link_name_bytes().map(|link| link.to_vec());
            (entry.path_bytes().to_vec(), link, content)
        })
        .collect()
}

#[test]
fn files_directories_and_links_are_read_back() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("d")).unwrap();
    fs::write(at("d/f"), [7; 1000]).unwrap();
    fs::hard_link(at("d/f"), at("hard")).unwrap();
    let target = "x/".repeat(80);
    symlink(&target, at("soft")).unwrap();
    let none = None::<Vec<u8>>;
    assert_eq!(
        read(&archive(root.path(), "t")),
        [
            (b"t/".to_vec(), none.clone(), vec![]),
            (b"t/d/".to_vec(), none.clone(), vec![]),
            (b"t/d/f".to_vec(), none, vec![7; 1000]),
            (b"t/hard".to_vec(), Some(b"t/d/f".to_vec()), vec![]),
            (b"t/soft".to_vec(), Some(target.into_bytes()), vec![]),
        ]
    );
}

#[test]
fn times_have_nanoseconds_on_both_sides_of_1970() {
    let cases = [
        (0, 0, "0"),
        (1, 500_000_000, "1.5"),
        (1, 1, "1.000000001"),
        (-1, 0, "-1"),
        (-1, 500_000_000, "-0.5"),
        (-2, 250_000_000, "-1.75"),
    ];
    for (seconds, nanoseconds, text) in cases {
        assert_eq!(pax::time(seconds, nanoseconds), text);
    }
}

#[test]
fn a_time_with_nanoseconds_is_in_a_record() {
    let root = tempfile::tempdir().unwrap();
    let file = File::create(root.path().join("f")).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    file.set_modified(time).unwrap();
    let entry = Walk::new(root.path(), "").unwrap().last().unwrap().unwrap();
    let header = Member::new(&entry).header();
    let records = &header[512..1024];
    assert!(records.starts_with(b"30 mtime=1700000000.123456789\n"));
}

#[test]
fn owners_are_written_only_when_asked_for() {
    let root = tempfile::tempdir().unwrap();
    let entry = Walk::new(root.path(), "").unwrap().next().unwrap().unwrap();
    let uid = |member: Member<'_>| {
        let header = member.header();
        let start = header.len() - 512;
        ::tar::Header::from_byte_slice(&header[start..])
            .uid()
            .unwrap()
    };
    assert_eq!(uid(Member::new(&entry)), 0);
    let owner = u64::from(entry.metadata().uid);
    assert_eq!(uid(Member::new(&entry).owners(true)), owner);
}

#[test]
fn a_file_with_holes_stores_its_data_only() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&[1; 4096]).unwrap();
    file.as_file().write_all_at(&[2; 4096], 1 << 20).unwrap();
    file.as_file().set_len(2 << 20).unwrap();
    let Some(map) = SparseMap::of(&file, 2 << 20).unwrap() else {
        eprintln!("skipped: no holes on this file system");
        return;
    };
    let entry = Walk::new(file.path(), "f")
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert_eq!(map.size(), 2 << 20);
    let data = map.data_len();
    let text = map.to_bytes();
    assert!(text.starts_with(b"3\n0\n4096\n1048576\n4096\n2097152\n0\n") || data != 8192);
    let member = Member::new(&entry).sparse(map);
    assert_eq!(member.content_len(), data);
    let header = member.header();
    let plain = &header[header.len() - text.len() - 512..];
    let plain = ::tar::Header::from_byte_slice(&plain[..512]);
    assert_eq!(plain.entry_size().unwrap(), data + text.len() as u64);
}

/// Names without newlines: the crate `tar` reads records line by line.
fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let byte = any::<u8>().prop_filter("in a name", |byte| !b"\0/\n".contains(byte));
    let name = prop::collection::vec(byte, 1..=255);
    prop::collection::vec(name, 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever bytes a path has, and however long it is, it is read back.
    #[test]
    fn every_path_is_read_back(names in names()) {
        let dots = names.iter().any(|name| name == b"." || name == b"..");
        prop_assume!(!dots);
        let root = tempfile::tempdir().unwrap();
        let path: Vec<u8> = names.join(&b'/');
        let at = root.path().join(OsStr::from_bytes(&path));
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        fs::write(&at, "content").unwrap();
        let (found, _, content) = read(&archive(root.path(), "t")).pop().unwrap();
        prop_assert_eq!(found, [b"t/", &path[..]].concat());
        prop_assert_eq!(content, b"content");
    }

    /// A record counts its own length.
    #[test]
    fn a_record_counts_itself(key in "[a-z]{1,12}", value in prop::collection::vec(any::<u8>(), 0..1200)) {
        let mut records = pax::Records::default();
        records.push(key.as_bytes(), &value);
        let mut out = Vec::new();
        records.write(&mut out);
        let blank = out.iter().position(|byte| *byte == b' ').unwrap();
        let length: u64 = std::str::from_utf8(&out[..blank]).unwrap().parse().unwrap();
        prop_assert_eq!(length, records.len());
        prop_assert_eq!(out.len() % 512, 0);
    }
}
