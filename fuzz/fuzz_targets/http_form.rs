//! The body of a form: it never panics, its parts are never larger than it, and it means the same
//! however it arrives.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass_http::fuzzing::form_parts;

const TYPE: &str = "multipart/form-data; boundary=b";

fuzz_target!(|input: (u8, &[u8])| {
    let (step, body) = input;
    let step = usize::from(step).max(1);
    let whole = form_parts(TYPE, body, body.len().max(1));
    assert!(whole.iter().flatten().sum::<usize>() <= body.len());
    assert_eq!(form_parts(TYPE, body, step), whole);
    // The type is from the client, too.
    if let Ok(content_type) = std::str::from_utf8(body) {
        form_parts(content_type, body, step);
    }
});
