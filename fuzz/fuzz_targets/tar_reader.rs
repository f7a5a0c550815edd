//! Archives: whatever the headers say, reading ends, and nothing panics.

#![no_main]

use libfuzzer_sys::fuzz_target;
use underpass_archive::tar::{MAX_EXTENDED, Reader, padding};

fuzz_target!(|data: &[u8]| {
    // Right checksums cannot be guessed: they are put in.
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(512) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let mut input = &data[..];
    let mut reader = Reader::new();
    while let Ok(Some(member)) = reader.next(&mut input) {
        assert!((member.path.len() as u64) < MAX_EXTENDED);
        if let Some(map) = &member.sparse {
            assert_eq!(map.data_len(), member.stored);
            assert!(map.data().iter().all(|range| range.end <= map.size()));
        }
        let skipped = member.stored + padding(member.stored);
        match usize::try_from(skipped) {
            Ok(skipped) if skipped <= input.len() => input = &input[skipped..],
            _ => break,
        }
    }
});
