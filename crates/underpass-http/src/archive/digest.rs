//! Digests of lists of entries.

use std::hash::{DefaultHasher, Hasher};

/// Digests bytes into 128 bits: the same bytes give the same digest in every process.
///
/// These are two SipHashes, the second of a text that begins differently. They tell one state of a
/// directory from another; they are not made to withstand somebody who looks for collisions.
pub(super) struct Digest([DefaultHasher; 2]);

impl Digest {
    pub(super) fn new() -> Self {
        let mut second = DefaultHasher::new();
        second.write_u8(2);
        Self([DefaultHasher::new(), second])
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        for hasher in &mut self.0 {
            hasher.write(bytes);
        }
    }

    pub(super) fn number(&mut self, number: u64) {
        for hasher in &mut self.0 {
            hasher.write_u64(number);
        }
    }

    pub(super) fn finish(&self) -> u128 {
        let [first, second] = &self.0;
        u128::from(first.finish()) << 64 | u128::from(second.finish())
    }
}
