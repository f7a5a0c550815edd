//! Whatever a client says, a handshake fails in order, and completes only with a peer that has the
//! keys.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|sent: &[u8]| underpass_tls::fuzzing::handshake(sent));
