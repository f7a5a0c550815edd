//! Any bytes are read as a header of the PROXY protocol or refused, without a panic, and what is
//! read can be written again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass::proxy_protocol::read;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(Some(found)) = read(bytes) {
        let (from, to) = (found.source, found.destination);
        assert_eq!(from.is_ipv4(), to.is_ipv4());
        let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
        let (source, target) = (from.ip(), to.ip());
        let line = format!("PROXY {family} {source} {target} {} {}\r\n", from.port(), to.port());
        assert_eq!(read(line.as_bytes()).unwrap(), Some(found));
    }
});
