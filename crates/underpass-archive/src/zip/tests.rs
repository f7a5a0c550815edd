//! What the headers say, and that their lengths are known beforehand. Whether programs read them is
//! tested where archives are sent.

use std::os::unix::fs::FileExt as _;

use proptest::prelude::*;

use super::*;

fn at16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn at32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn at64(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn member(name: &[u8], size: u64) -> Member<'_> {
    Member {
        name,
        size,
        mode: 0o640,
        mtime: 1_700_000_000,
    }
}

#[test]
fn a_small_file_needs_no_zip64() {
    let local = member(b"a", 5).local_header(7);
    assert_eq!((at32(&local, 0), at16(&local, 4)), (LOCAL, VERSION));
    assert_eq!(
        (at32(&local, 14), at32(&local, 18), at32(&local, 22)),
        (7, 5, 5)
    );
    assert_eq!((at16(&local, 26), at16(&local, 28)), (1, 9), "name and UT");
    let central = member(b"a", 5).central_header(7, 0xFFFF_FFFE);
    assert_eq!(at16(&central, 6), VERSION);
    assert_eq!(at32(&central, 42), 0xFFFF_FFFE);
    assert_eq!(at32(&central, 38), 0o100_640 << 16);
    assert_eq!(end(0xFFFE, 0xFFFF_FFFE, 0xFFFF_FFFE).len(), 22);
}

/// The largest number of a field is its mark for "see the zip64 field", so it needs that field too.
#[test]
fn zip64_begins_at_the_mark_itself() {
    let (small, large) = (member(b"a", MOST - 1), member(b"a", MOST));
    assert_eq!(at16(&small.local_header(0), 28), 9);
    let local = large.local_header(0);
    assert_eq!(
        (at16(&local, 4), at32(&local, 18), at32(&local, 22)),
        (45, u32::MAX, u32::MAX)
    );
    assert_eq!((at16(&local, 31), at16(&local, 33)), (ZIP64, 16));
    assert_eq!((at64(&local, 35), at64(&local, 43)), (MOST, MOST));
    let central = member(b"a", 5).central_header(0, MOST);
    assert_eq!(
        (at16(&central, 6), at32(&central, 24), at32(&central, 42)),
        (45, 5, u32::MAX)
    );
    assert_eq!(
        (at16(&central, 47), at16(&central, 49), at64(&central, 51)),
        (ZIP64, 8, MOST)
    );
    for (members, offset, len) in [(0xFFFF, 0, 0), (0, MOST, 0), (0, 0, MOST)] {
        let end = end(members, offset, len);
        assert_eq!(end.len(), 56 + 20 + 22);
        assert_eq!(
            (at64(&end, 24), at64(&end, 40), at64(&end, 48)),
            (members, len, offset)
        );
        assert_eq!(
            at64(&end, 56 + 8),
            offset + len,
            "where the zip64 end begins"
        );
    }
}

#[test]
fn directories_and_names_are_marked() {
    let directory = member(b"a/", 0).central_header(0, 0);
    assert_eq!(at32(&directory, 38), 0o040_640 << 16 | DOS_DIRECTORY);
    assert_eq!(at16(&member("ü".as_bytes(), 0).local_header(0), 6), UTF8);
    assert_eq!(at16(&member(b"\xFC", 0).local_header(0), 6), 0);
}

proptest! {
    #[test]
    fn lengths_are_known_beforehand(
        name in prop::collection::vec(any::<u8>(), 1..300),
        size in prop_oneof![0..10_u64, MOST - 2..MOST + 2, any::<u64>()],
        mtime in prop_oneof![0..10_i64, any::<i64>()],
        offset in prop_oneof![0..10_u64, MOST - 2..MOST + 2, 0..1_u64 << 60],
        members in prop_oneof![0..10_u64, 0xFFFD..0x1_0001_u64],
    ) {
        let member = Member { name: &name, size, mode: 0o644, mtime };
        prop_assert_eq!(member.local_header(1).len() as u64, member.local_header_len());
        let central = member.central_header(1, offset).len() as u64;
        prop_assert_eq!(central, member.central_header_len(offset));
        let end = end(members, offset, central).len() as u64;
        prop_assert_eq!(end, end_len(members, offset, central));
    }
}

/// An archive with a member beyond 4 GiB, most of which is a hole.
#[test]
fn python_reads_zip64() {
    if !underpass_testing::needs::tool("python3") {
        return;
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    let (large, small) = (member(b"large", (4 << 30) + 5), member(b"small", 6));
    let write = |bytes: &[u8], at: u64| {
        file.as_file().write_all_at(bytes, at).unwrap();
        at + bytes.len() as u64
    };
    // The checksum of "behind"; that of the hole is not looked at.
    let crc = 0xAD19_3BE4;
    let at = write(&large.local_header(0), 0) + large.size;
    let behind = write(&small.local_header(crc), at);
    let directory = write(b"behind", behind);
    let mut central = large.central_header(0, 0);
    central.extend_from_slice(&small.central_header(crc, at));
    let len = central.len() as u64;
    central.extend_from_slice(&end(2, directory, len));
    write(&central, directory);
    let script = "import sys, zipfile, zlib
assert zlib.crc32(b'behind') == int(sys.argv[2]), zlib.crc32(b'behind')
archive = zipfile.ZipFile(sys.argv[1])
assert archive.getinfo('large').file_size == 2 ** 32 + 5
assert archive.getinfo('small').header_offset > 2 ** 32
assert archive.read('small') == b'behind'
with archive.open('large') as large: assert large.read(1000) == bytes(1000)";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(file.path())
        .arg(crc.to_string())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}
