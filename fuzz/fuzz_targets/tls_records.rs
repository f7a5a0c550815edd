//! Whatever the peer seals, and whatever garbage follows, the data is what it sent as data, in
//! order, and a stream ends properly only by close_notify.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use underpass_tls::fuzzing::records;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    is_new: bool,
    records: Vec<(Kind, &'a [u8])>,
    rest: &'a [u8],
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Data,
    Alert,
    Handshake,
    Other(u8),
}

fuzz_target!(|input: Input<'_>| {
    let sealed: Vec<(u8, &[u8])> = input
        .records
        .iter()
        .map(|(kind, content)| {
            let number = match kind {
                Kind::Data => 23,
                Kind::Alert => 21,
                Kind::Handshake => 22,
                // A type of 0 would be padding.
                Kind::Other(number) => (*number).max(1),
            };
            (number, *content)
        })
        .collect();
    let (received, ended) = records(input.is_new, &sealed, input.rest);
    let data = sealed.iter().filter(|(kind, _)| *kind == 23);
    let sent: Vec<u8> = data
        .flat_map(|(_, content)| content.iter().copied())
        .collect();
    assert!(sent.starts_with(&received), "not what was sent");
    let has_close = sealed
        .iter()
        .any(|(kind, content)| *kind == 21 && content.contains(&0));
    assert!(!ended || has_close, "an end that nobody said");
});
