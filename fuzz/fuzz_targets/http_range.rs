//! Whatever a Range field says, what is sent lies within the file, once.
#![no_main]

use std::ops::Range;

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use underpass_http::fuzzing::{multipart_lengths, ranges};

fuzz_target!(|input: (u64, &[u8])| {
    let (length, set) = input;
    // The length of a file is a signed number.
    let length = length >> 1;
    let fields = [set.to_vec(), [b"bytes=", set].concat()];
    for field in fields.iter().filter_map(|field| HeaderValue::from_bytes(field).ok()) {
        let Some(ranges) = ranges(&field, length) else { continue };
        for (index, range) in ranges.iter().enumerate() {
            assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
            let apart = |other: &Range<u64>| range.end < other.start || other.end < range.start;
            assert!(ranges[..index].iter().all(apart), "{ranges:?}");
        }
        if ranges.len() > 1 {
            let (announced, sent) = multipart_lengths(ranges, length);
            assert_eq!(announced, sent);
        }
    }
});
