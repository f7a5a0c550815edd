//! The index beside a cache file: whatever a disk holds, nothing panics, and what is read is what
//! was written.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| underpass_store::fuzzing::index(data));
