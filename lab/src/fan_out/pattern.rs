//! The content of streams: some MiB without a pattern, repeated, so that a byte in the wrong place
//! is noticed.

use std::sync::OnceLock;

/// Not a multiple of any length by which bytes could be shifted.
const LENGTH: usize = (4 << 20) + 4321;

/// The bytes from a position in the stream on, as many as lie in one piece.
pub(super) fn at(place: u64) -> &'static [u8] {
    &bytes()[(place % LENGTH as u64) as usize..]
}

/// Whether these are the bytes at a position in the stream.
pub(super) fn is_at(place: u64, mut got: &[u8]) -> bool {
    let mut place = place;
    while !got.is_empty() {
        let wanted = at(place);
        let count = wanted.len().min(got.len());
        if got[..count] != wanted[..count] {
            return false;
        }
        got = &got[count..];
        place += count as u64;
    }
    true
}

fn bytes() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let mut random = 0x9E37_79B9_7F4A_7C15_u64;
        let next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random as u8
        };
        std::iter::repeat_with(next).take(LENGTH).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shift_is_seen_and_the_seam_is_none() {
        let seam = LENGTH as u64 - 3;
        let mut over = at(seam).to_vec();
        over.extend_from_slice(&at(0)[..5]);
        assert!(is_at(seam, &over));
        assert!(is_at(seam + LENGTH as u64, &over));
        assert!(!is_at(seam + 1, &over));
    }
}
