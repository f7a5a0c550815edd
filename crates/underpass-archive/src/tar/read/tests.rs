use std::io::Read;

use proptest::prelude::*;

use super::*;
use crate::tar::pax::Records;
use crate::tar::{END, Member};
use crate::walk::Walk;

/// A plain header with a right checksum.
fn header(name: &[u8], kind: EntryType, size: u64) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_mtime(7);
    header.set_cksum();
    header.as_bytes().to_vec()
}

fn filled(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len() + padding(bytes.len() as u64) as usize, 0);
    bytes
}

/// A pax header with this content.
fn pax(content: &[u8]) -> Vec<u8> {
    let all = header(b"pax", EntryType::XHeader, content.len() as u64);
    [all, filled(content)].concat()
}

/// A pax header with these records.
fn with(records: &[(&str, &str)]) -> Vec<u8> {
    let mut all = Records::default();
    for (key, value) in records {
        all.push(key.as_bytes(), value.as_bytes());
    }
    let mut content = Vec::new();
    all.write(&mut content);
    content.truncate(all.len() as usize);
    pax(&content)
}

/// Entries, each with its content.
type Found = Vec<(ReadMember, Vec<u8>)>;

/// All entries, and how it ended.
fn read(mut bytes: &[u8]) -> (Found, Result<(), ReadError>) {
    let (mut found, mut reader) = (Vec::new(), Reader::new());
    loop {
        let member = match reader.next(&mut bytes) {
            Ok(Some(member)) => member,
            Ok(None) => return (found, Ok(())),
            Err(error) => return (found, Err(error)),
        };
        let (content, pad) = (member.stored as usize, padding(member.stored) as usize);
        if bytes.len() < content + pad {
            let cut = io::ErrorKind::UnexpectedEof.into();
            return (found, Err(ReadError::Io(cut)));
        }
        found.push((member, bytes[..content].to_vec()));
        bytes = &bytes[content + pad..];
    }
}

fn malformed(bytes: &[u8]) -> &'static str {
    match read(bytes).1 {
        Err(ReadError::Malformed(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_this_crate_writes_is_read_back() {
    let root = tempfile::tempdir().unwrap();
    let long = "n".repeat(255);
    std::fs::create_dir(root.path().join(&long)).unwrap();
    std::fs::write(root.path().join(&long).join(&long), [7; 700]).unwrap();
    std::os::unix::fs::symlink("t/".repeat(99), root.path().join("soft")).unwrap();
    let mut bytes = Vec::new();
    let mut written = Vec::new();
    for entry in Walk::new(root.path(), "t").unwrap() {
        let entry = entry.unwrap();
        let member = Member::new(&entry).owners(true);
        bytes.extend_from_slice(&member.header());
        if member.content_len() > 0 {
            let mut content = Vec::new();
            entry.open().unwrap().read_to_end(&mut content).unwrap();
            bytes.extend_from_slice(&filled(&content));
        }
        written.push(entry);
    }
    bytes.extend_from_slice(END);
    let (found, end) = read(&bytes);
    end.unwrap();
    assert_eq!(found.len(), written.len());
    for ((found, _), entry) in found.iter().zip(&written) {
        let metadata = entry.metadata();
        assert_eq!(found.path, entry.path());
        assert_eq!(found.mode, metadata.mode);
        assert_eq!(found.mtime, metadata.mtime);
        assert_eq!(found.mtime_nanoseconds, metadata.mtime_nanoseconds);
        assert_eq!(found.uid, u64::from(metadata.uid));
    }
    assert!(found[2].1 == [7; 700]);
    assert_eq!(
        found[3].0.kind,
        ReadKind::Symlink("t/".repeat(99).into_bytes())
    );
}

#[test]
fn gnu_long_names_are_read() {
    let name = [b"d/".repeat(80), b"file".to_vec()].concat();
    let bytes = [
        header(
            b"././@LongLink",
            EntryType::GNULongName,
            name.len() as u64 + 1,
        ),
        filled(&[&name[..], b"\0"].concat()),
        header(b"././@LongLink", EntryType::GNULongLink, 7),
        filled(b"target\0"),
        header(b"d/", EntryType::Symlink, 0),
        END.to_vec(),
    ]
    .concat();
    let (found, end) = read(&bytes);
    end.unwrap();
    assert_eq!(found[0].0.path, name);
    assert_eq!(found[0].0.kind, ReadKind::Symlink(b"target".to_vec()));
}

#[test]
fn pax_records_override_the_header_for_one_entry() {
    let bytes = [
        with(&[
            ("path", "a\nb\n\u{e9}\nc"),
            ("mtime", "-1.250000"),
            ("size", "3"),
            ("SCHILY.xattr.u.a", "\0"),
        ]),
        header(b"x", EntryType::Regular, 0),
        filled(b"abc"),
        header(b"y", EntryType::Regular, 0),
        END.to_vec(),
    ]
    .concat();
    let (found, end) = read(&bytes);
    end.unwrap_or_else(|error| panic!("{error}"));
    let (first, content) = &found[0];
    assert_eq!(first.path, "a\nb\n\u{e9}\nc".as_bytes());
    assert_eq!((first.mtime, first.mtime_nanoseconds), (-2, 750_000_000));
    assert_eq!(content, b"abc");
    assert_eq!(first.xattrs, [(b"u.a".to_vec(), b"\0".to_vec())]);
    assert_eq!(found[1].0.path, b"y");
    assert_eq!(found[1].0.mtime, 7);
}

#[test]
fn what_cannot_be_right_is_refused() {
    let regular = |size| header(b"x", EntryType::Regular, size);
    let sparse = |size: &str, content: &[u8]| {
        [
            with(&[("GNU.sparse.major", "1"), ("GNU.sparse.realsize", size)]),
            regular(content.len() as u64),
            filled(content),
        ]
        .concat()
    };
    let size = "10";
    let map = |text: &str| filled(text.as_bytes());
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![1; 1024], "not a tar header"),
        (
            [vec![0; 512], vec![1; 512]].concat(),
            "a single block of zeros",
        ),
        (pax(b"99 path=x\n"), "a pax record with a wrong length"),
        (pax(b"9 path=xy"), "a pax record with a wrong length"),
        (pax(b"0 path=x\n"), "a pax record with a wrong length"),
        (
            with(&[("size", "many")]),
            "a number in a pax record is none",
        ),
        (
            with(&[("mtime", "1.x")]),
            "a number in a pax record is none",
        ),
        (
            [pax(b""), END.to_vec()].concat(),
            "an extended header without an entry",
        ),
        (
            header(b"x", EntryType::XHeader, 2 << 20),
            "an extended header of more than 1 MiB",
        ),
        (regular(u64::MAX), "a size that no file has"),
        (
            sparse("-1", &map("0\n")),
            "a number in a pax record is none",
        ),
        (
            sparse("", &map("0\n")),
            "a map of holes that cannot be right",
        ),
        (
            sparse(size, &map("1\n5\n9\n")),
            "a map of holes that cannot be right",
        ),
        (
            sparse(size, &map("2\n5\n2\n4\n1\n")),
            "a map of holes that cannot be right",
        ),
        (
            sparse(size, &map("1\n0\n4\n")),
            "a map of holes that cannot be right",
        ),
        (
            sparse(size, &map("99999999999999999999999\n")),
            "a map of holes that cannot be right",
        ),
        (
            sparse(size, &map("4000000000\n")),
            "a map of holes that cannot be right",
        ),
        (
            sparse(size, &map("x\n")),
            "a map of holes that cannot be right",
        ),
    ];
    for (bytes, why) in cases {
        assert!(
            malformed(&bytes).starts_with(why),
            "{why}: {}",
            malformed(&bytes)
        );
    }
}

/// What GNU tar writes with `-V`, and with `--listed-incremental`.
#[test]
fn a_volume_name_and_listed_directories_are_no_unknown_entries() {
    let mut label = Header::new_old();
    label.as_old_mut().name[..7].copy_from_slice(b"mylabel");
    label.set_entry_type(EntryType::new(LABEL));
    label.set_mtime(7);
    label.set_cksum();
    assert_eq!(label.as_old().size, [0; 12]);
    let listed = [
        header(b"d/", EntryType::new(LISTED_DIRECTORY), 6),
        filled(b"Yfile\0"),
    ];
    let bytes = [
        label.as_bytes().to_vec(),
        listed.concat(),
        header(b"d/file", EntryType::Regular, 0),
        END.to_vec(),
    ]
    .concat();
    let (found, ended) = read(&bytes);
    ended.unwrap();
    let [(directory, names), (file, _)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(directory.kind, ReadKind::Directory);
    assert_eq!(names, b"Yfile\0");
    assert_eq!(
        (&file.path[..], &file.kind),
        (&b"d/file"[..], &ReadKind::File)
    );
    // A name alone is an empty archive.
    let (found, ended) = read(&[label.as_bytes(), END].concat());
    ended.unwrap();
    assert!(found.is_empty());
}

/// As GNU tar and Python write it in GNU's format: a binary number below zero.
#[test]
fn a_time_before_1970_stays_before_1970() {
    let mut old = Header::new_gnu();
    old.as_gnu_mut().unwrap().name[..1].copy_from_slice(b"x");
    old.set_size(0);
    old.set_mode(0o644);
    let mut field = [0xff; 12];
    field[4..].copy_from_slice(&(-315_576_000_i64).to_be_bytes());
    old.as_gnu_mut().unwrap().mtime = field;
    old.set_cksum();
    let (found, _) = read(&[old.as_bytes(), END].concat());
    assert_eq!(found[0].0.mtime, -315_576_000);
}

#[test]
fn an_archive_that_is_cut_at_any_block_is_incomplete() {
    let bytes = [
        with(&[("mtime", "1700000000.000001")]),
        header(b"x", EntryType::Regular, 1000),
        vec![1; 1024],
        END.to_vec(),
    ]
    .concat();
    read(&bytes).1.unwrap();
    for length in (0..bytes.len()).step_by(512) {
        match read(&bytes[..length]).1 {
            Err(ReadError::Io(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "{length}");
            }
            other => panic!("{length}: {other:?}"),
        }
    }
}

proptest! {
    /// Whatever comes, reading ends, and takes little memory.
    #[test]
    fn any_bytes_are_read_or_refused(
        records in prop::collection::vec(any::<u8>(), 0..600),
        kind in any::<u8>(),
        size in any::<u16>(),
        rest in prop::collection::vec(any::<u8>(), 0..2000),
    ) {
        let kind = EntryType::new(kind);
        let bytes = [
            header(b"p", EntryType::XHeader, records.len() as u64),
            filled(&records),
            header(b"x", kind, size.into()),
            rest,
        ]
        .concat();
        let _ = read(&bytes);
    }
}
