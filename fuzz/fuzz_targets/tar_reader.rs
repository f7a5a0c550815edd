//! Archives: whatever the headers say, reading ends, and nothing panics.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use underpass_archive::tar::{MAX_EXTENDED, Reader, padding};

/// Headers with a right checksum, which cannot be guessed, each with some content.
#[derive(Arbitrary, Debug)]
struct Part<'a> {
    kind: u8,
    size: Size<'a>,
    name: &'a [u8],
    /// Overwrites the rest of the header, from the magic number on.
    rest: &'a [u8],
    content: Vec<Record<'a>>,
}

#[derive(Arbitrary, Debug)]
enum Size<'a> {
    OfContent,
    Other(u64),
    Written(&'a [u8]),
}

#[derive(Arbitrary, Debug)]
enum Record<'a> {
    Pax(u8, &'a [u8]),
    Number(u64),
    Bytes(&'a [u8]),
}

const KINDS: &[u8] = b"0xgLKS125\0";
const KEYS: &[&str] = &[
    "path",
    "linkpath",
    "size",
    "mtime",
    "uid",
    "hdrcharset",
    "GNU.sparse.major",
    "GNU.sparse.minor",
    "GNU.sparse.name",
    "GNU.sparse.realsize",
    "GNU.sparse.size",
    "GNU.sparse.map",
    "GNU.sparse.numblocks",
    "GNU.sparse.offset",
    "GNU.sparse.numbytes",
    "SCHILY.xattr.user.a",
];

impl Record<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Pax(key, value) => {
                let key = KEYS[usize::from(*key) % KEYS.len()];
                let rest = key.len() + value.len() + 3;
                let digits = (rest + 3).to_string().len();
                let length = rest + digits;
                out.extend(format!("{length} {key}=").bytes());
                out.extend(*value);
                out.push(b'\n');
            }
            Self::Number(number) => out.extend(format!("{number}\n").bytes()),
            Self::Bytes(bytes) => out.extend(*bytes),
        }
    }
}

impl Part<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        let mut content = Vec::new();
        self.content.iter().for_each(|it| it.write(&mut content));
        let mut block = [0; 512];
        put(&mut block[..100], self.name);
        let size = match self.size {
            Size::OfContent => format!("{:011o}", content.len()).into_bytes(),
            Size::Other(size) => format!("{:011o}", size >> 31).into_bytes(),
            Size::Written(text) => text.to_vec(),
        };
        put(&mut block[124..136], &size);
        block[156] = KINDS[usize::from(self.kind) % KINDS.len()];
        put(&mut block[257..], b"ustar\x0000");
        put(&mut block[257..], self.rest);
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        put(&mut block[148..156], format!("{sum:06o}\0 ").as_bytes());
        out.extend(block);
        let zeros = padding(content.len() as u64) as usize;
        out.append(&mut content);
        out.resize(out.len() + zeros, 0);
    }
}

fn put(field: &mut [u8], value: &[u8]) {
    let count = value.len().min(field.len());
    field[..count].copy_from_slice(&value[..count]);
}

fuzz_target!(|parts: Vec<Part>| {
    let mut data = Vec::new();
    parts.iter().for_each(|part| part.write(&mut data));
    let mut input = &data[..];
    let mut reader = Reader::new();
    while let Ok(Some(member)) = reader.next(&mut input) {
        assert!((member.path.len() as u64) < MAX_EXTENDED);
        if let Some(map) = &member.sparse {
            assert_eq!(map.data_len(), member.stored);
            assert!(map.data().iter().all(|range| range.end <= map.size()));
        }
        let skipped = member.stored.saturating_add(padding(member.stored));
        match usize::try_from(skipped) {
            Ok(skipped) if skipped <= input.len() => input = &input[skipped..],
            _ => break,
        }
    }
});
