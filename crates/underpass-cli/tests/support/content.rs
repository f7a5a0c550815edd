//! Content of files.

use std::fs::File;
use std::io::Read;

use super::MIB;

/// Compares two files of any size.
#[track_caller]
pub(crate) fn assert_same(one: &str, other: &str) {
    let (mut a, mut b) = (File::open(one).unwrap(), File::open(other).unwrap());
    let size = |file: &File| file.metadata().unwrap().len();
    assert_eq!(size(&a), size(&b), "sizes of {one} and {other}");
    let (mut left, mut right) = (vec![0; MIB], vec![0; MIB]);
    let mut at = 0;
    while at < size(&a) {
        let count = (size(&a) - at).min(MIB as u64) as usize;
        a.read_exact(&mut left[..count]).unwrap();
        b.read_exact(&mut right[..count]).unwrap();
        let equal = left[..count] == right[..count];
        assert!(equal, "{one} and {other} differ in the MiB from byte {at}");
        at += count as u64;
    }
}

/// The bytes are the same; they are too many to be shown.
#[track_caller]
pub(crate) fn assert_bytes(found: &[u8], wanted: &[u8]) {
    let differ = found
        .iter()
        .zip(wanted)
        .position(|(one, other)| one != other);
    assert_eq!(differ, None, "the first byte that differs");
    assert_eq!(found.len(), wanted.len());
}
