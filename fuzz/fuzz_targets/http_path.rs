//! Any request path is refused, or names something below the root, and the name encodes to an
//! equivalent path.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass_http::fuzzing::{decode, encode};

fuzz_target!(|raw: &str| {
    match decode(raw) {
        Ok(relative) => {
            assert!(raw.starts_with('/'));
            assert!(!relative.contains(&0));
            let stays_below =
                |it: &[u8]| it != b"." && it != b".." && (!it.is_empty() || relative.is_empty());
            assert!(relative.split(|it| *it == b'/').all(stays_below), "{}", relative.escape_ascii());
            let encoded = encode(&relative);
            assert!(
                encoded.is_ascii() && !encoded.starts_with("//"),
                "{encoded}"
            );
            assert_eq!(decode(&encoded), Ok(relative));
        }
        Err(why) => assert!(!why.is_empty()),
    }
    let encoded = encode(raw.as_bytes());
    assert!(encoded.starts_with('/') && !encoded.starts_with("//") && !encoded.starts_with("/\\"));
});
