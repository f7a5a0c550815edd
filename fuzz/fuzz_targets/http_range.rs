//! For any Range field, the bytes that are sent lie within the file, and each range is sent once.
#![no_main]

use std::ops::Range;

use arbitrary::Arbitrary;
use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use underpass_http::fuzzing::{multipart_lengths, ranges};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    length: u64,
    /// Makes most files short.
    shift: u8,
    set: Vec<Member<'a>>,
    text: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Member<'a> {
    Between(u16, u16),
    From(u16),
    Last(u16),
    Far(u64, u64),
    Text(&'a [u8]),
}

impl Member<'_> {
    fn written(&self) -> Vec<u8> {
        match *self {
            Self::Between(first, more) => {
                format!("{first}-{}", u32::from(first) + u32::from(more)).into()
            }
            Self::From(first) => format!("{first}-").into(),
            Self::Last(count) => format!("-{count}").into(),
            Self::Far(first, last) => format!("{first}-{last}").into(),
            Self::Text(text) => text.to_vec(),
        }
    }
}

fuzz_target!(|input: Input| {
    // The length of a file is a signed number.
    let length = input.length >> (1 + input.shift % 63);
    let set: Vec<_> = input.set.iter().map(Member::written).collect();
    let fields = [
        input.text.to_vec(),
        [b"bytes=", input.text].concat(),
        [b"bytes=", &set.join(&b", "[..])[..]].concat(),
    ];
    for field in fields
        .iter()
        .filter_map(|field| HeaderValue::from_bytes(field).ok())
    {
        let Some(ranges) = ranges(&field, length) else {
            continue;
        };
        for (index, range) in ranges.iter().enumerate() {
            assert!(
                range.start < range.end && range.end <= length,
                "{range:?} of {length}"
            );
            let apart = |other: &Range<u64>| range.end < other.start || other.end < range.start;
            assert!(ranges[..index].iter().all(apart), "{ranges:?}");
        }
        if ranges.len() > 1 {
            let (announced, sent) = multipart_lengths(ranges, length);
            assert_eq!(announced, sent);
        }
    }
});
