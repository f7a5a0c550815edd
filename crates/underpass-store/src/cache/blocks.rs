//! Which bytes of a file may be sent.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The blocks of one file, and which of them are there. Reading never waits for the store.
#[derive(Debug)]
pub(crate) struct Blocks {
    len: u64,
    size: u64,
    there: Box<[AtomicU64]>,
    count: AtomicU64,
    /// Of blocks that are not there: as many bytes of their beginning are. What is in neither was
    /// never begun, so whoever looks at both takes this first.
    begun: Mutex<HashMap<u64, u64>>,
}

impl Blocks {
    pub(crate) fn new(len: u64, size: u32) -> Self {
        let size = u64::from(size.max(1));
        let words = len.div_ceil(size).div_ceil(64) as usize;
        Self {
            len,
            size,
            there: (0..words).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            begun: Mutex::default(),
        }
    }

    /// Of each block but the last, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// How many there are in all.
    pub(crate) fn total(&self) -> u64 {
        self.len.div_ceil(self.size)
    }

    /// Whether all blocks are there.
    pub(crate) fn is_whole(&self) -> bool {
        self.count.load(Acquire) == self.total()
    }

    pub(crate) fn has(&self, block: u64) -> bool {
        let word = self.there.get((block / 64) as usize);
        word.is_some_and(|word| word.load(Acquire) >> (block % 64) & 1 == 1)
    }

    /// Says that a block is there. What was written before is seen by those who then find it.
    pub(crate) fn set(&self, block: u64) {
        if block >= self.total() {
            return;
        }
        let bit = 1 << (block % 64);
        if self.there[(block / 64) as usize].fetch_or(bit, Release) & bit == 0 {
            self.count.fetch_add(1, Release);
        }
        self.lock().remove(&block);
    }

    /// Says that the first `bytes` of a block are there. They are never all, nor fewer than before.
    pub(crate) fn begin(&self, block: u64, bytes: u64) {
        if bytes > 0 && block < self.total() && !self.has(block) {
            self.lock().insert(block, bytes);
        }
    }

    /// How many bytes of the beginning of a block that is not there are.
    pub(crate) fn begun(&self, block: u64) -> u64 {
        self.lock().get(&block).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, u64>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bytes of a block.
    pub(crate) fn range(&self, block: u64) -> Range<u64> {
        let start = block.saturating_mul(self.size).min(self.len);
        start..start.saturating_add(self.size).min(self.len)
    }

    /// How many bytes from `offset` on are there without a gap, up to `max`.
    pub(crate) fn present(&self, offset: u64, max: u64) -> u64 {
        if offset >= self.len {
            return 0;
        }
        let end = self.len.min(offset.saturating_add(max));
        if self.is_whole() {
            return end - offset;
        }
        let begun = self.lock();
        let mut block = offset / self.size;
        while self.range(block).start < end {
            let word = self.there[(block / 64) as usize].load(Acquire);
            let ones = u64::from((word >> (block % 64)).trailing_ones());
            block += ones;
            // A word's last bits were all there: it may go on in the next word.
            if ones == 0 || !block.is_multiple_of(64) {
                break;
            }
        }
        let begun = begun.get(&block).copied().unwrap_or(0);
        let there = self.range(block).start.saturating_add(begun);
        there.min(end).saturating_sub(offset)
    }

    /// Whether no byte is there.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Acquire) == 0 && self.lock().is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// As a plain list of bytes would say it.
        #[test]
        fn pitfall_55_what_is_present_has_no_hole(
            len in 0_u64..3000, size in 1_u32..20,
            begun in prop::collection::vec((0_u64..300, 0_u64..20), 0..20),
            set in prop::collection::vec(0_u64..300, 0..300),
            offset in 0_u64..3100, max in prop_oneof![0_u64..3000, Just(u64::MAX)],
        ) {
            let blocks = Blocks::new(len, size);
            let mut bytes = vec![false; len as usize];
            for (block, count) in begun {
                let range = blocks.range(block);
                let fewer = (range.end - range.start).saturating_sub(1);
                let count = count.min(fewer).max(blocks.begun(block));
                blocks.begin(block, count);
                let start = range.start as usize;
                bytes[start..start + count as usize].fill(true);
            }
            for block in set {
                blocks.set(block);
                let range = blocks.range(block);
                bytes[range.start as usize..range.end as usize].fill(true);
            }
            let from = bytes.iter().skip(offset as usize).take(max.min(1 << 20) as usize);
            let expected = from.take_while(|there| **there).count() as u64;
            prop_assert_eq!(blocks.present(offset, max), expected);
            let there = (0..blocks.total()).filter(|block| blocks.has(*block)).count() as u64;
            prop_assert_eq!(blocks.is_empty(), !bytes.contains(&true));
            prop_assert_eq!(blocks.is_whole(), there == blocks.total());
        }
    }
}
