//! Any text that is typed as an address, a size, a range or a duration is parsed or refused,
//! without a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/underpass-cli/src/values/address.rs"]
#[allow(dead_code)]
mod address;
#[path = "../../crates/underpass-cli/src/values/duration.rs"]
#[allow(dead_code)]
mod duration;
#[path = "../../crates/underpass-cli/src/values/size.rs"]
#[allow(dead_code)]
mod size;

fuzz_target!(|text: &str| {
    if let Ok(address) = text.parse::<address::Address>() {
        let printed = address.to_string();
        assert_eq!(printed.parse(), Ok(address), "{printed}");
    }
    let _ = size::bytes(text);
    if let Ok(range) = size::range(text) {
        assert!(range.end.is_none_or(|end| end >= range.start));
    }
    let _ = duration::parse(text);
});
