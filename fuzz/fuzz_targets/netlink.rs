//! Any answer of rtnetlink is parsed without a panic or an endless loop.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    let _ = underpass::fuzzing::outgoing_interface(answer);
});
