//! For any BTF data, a field is found at an offset or is not found: no panic, no endless loop.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;

#[path = "../../crates/underpass-measure/src/btf.rs"]
#[allow(dead_code)]
mod btf;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    types: Vec<Entry>,
    raw: &'a [u8],
}

/// A type and the data after it, made of small numbers, so that types refer to each other.
#[derive(Arbitrary, Debug)]
struct Entry {
    name: u8,
    kind: u8,
    packed: bool,
    /// Claims another number of members than there are.
    more: u8,
    members: Vec<(u8, u8, u32)>,
}

/// The strings "", "outer", "a" and "len".
const STRINGS: &[u8] = b"\0outer\0a\0len\0";
const NAMES: [u32; 4] = [0, 1, 7, 9];

impl Entry {
    fn words(&self) -> Vec<u32> {
        let name = |number: u8| NAMES[usize::from(number) % NAMES.len()];
        let count = self.members.len() as u32 + u32::from(self.more / 128);
        let kind = u32::from(self.kind % 20) << 24;
        let mut words = vec![name(self.name), kind | count | u32::from(self.packed) << 31, 0];
        for &(member, number, offset) in &self.members {
            words.extend([name(member), u32::from(number % 8), offset]);
        }
        words
    }
}

fn tables(types: &[u8]) -> Vec<u8> {
    let mut bytes = vec![];
    bytes.extend(0xeb9f_u16.to_ne_bytes());
    bytes.extend([1, 0]);
    let len = types.len() as u32;
    for number in [24, 0, len, len, STRINGS.len() as u32] {
        bytes.extend(number.to_ne_bytes());
    }
    [&bytes, types, STRINGS].concat()
}

fuzz_target!(|input: Input| {
    let words = input.types.iter().flat_map(Entry::words);
    let types: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
    for bytes in [tables(&types), tables(input.raw), input.raw.to_vec()] {
        for field in ["a", "len"] {
            let found = btf::field_offset(&bytes, "outer", field);
            assert!(found.is_none_or(|offset| offset <= u32::MAX / 8));
        }
        assert_eq!(btf::field_offset(&bytes, "nobody", "a"), None);
    }
});
