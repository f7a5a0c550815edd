//! Which blocks are fetched: decided here, without a store and without a disk.

use std::ops::Range;

/// As many readers of one object are told apart.
const READERS: usize = 16;
/// Blocks that one call fetches at most, read-ahead included.
pub(crate) const WINDOW: u64 = 8;

/// The blocks of a range of bytes, which is not empty.
pub(crate) fn blocks_of(offset: u64, len: u64, size: u64) -> Range<u64> {
    let last = offset.saturating_add(len.max(1) - 1);
    offset / size..last / size + 1
}

/// The blocks to fetch for somebody who wants `wanted`, of which the first is waited for: those of
/// the first [`WINDOW`] that are missing, then `ahead` more. No block is beyond `total`.
pub(crate) fn to_fetch(
    wanted: Range<u64>,
    ahead: u64,
    total: u64,
    missing: impl Fn(u64) -> bool,
) -> Vec<u64> {
    let first = wanted.start;
    let end = wanted.end.max(wanted.start).min(total);
    let until = end
        .saturating_add(ahead)
        .min(total)
        .min(first.saturating_add(WINDOW));
    (first..until).filter(|block| missing(*block)).collect()
}

/// Readers of one object, by the block that each would read next if it goes on.
#[derive(Debug, Default)]
pub(crate) struct Readers {
    /// The one that was seen last is at the end.
    next: Vec<Reader>,
}

#[derive(Clone, Copy, Debug)]
struct Reader {
    at: u64,
    ahead: u64,
}

impl Readers {
    /// Somebody wants these blocks: how many more will he want? None, if he came from elsewhere;
    /// twice as many with each block that he goes on.
    pub(crate) fn observe(&mut self, wanted: &Range<u64>) -> u64 {
        let goes_on = |reader: &Reader| wanted.start == reader.at || wanted.start + 1 == reader.at;
        let ahead = match self.next.iter().position(goes_on) {
            Some(found) => {
                let reader = self.next.remove(found);
                // The same block again is the same reader, who has gone no further.
                let further = wanted.end > reader.at;
                if further {
                    (reader.ahead * 2).clamp(1, WINDOW)
                } else {
                    reader.ahead
                }
            }
            // Whoever begins at the beginning usually goes on.
            None => u64::from(wanted.start == 0),
        };
        if self.next.len() == READERS {
            self.next.remove(0);
        }
        let at = wanted.end;
        self.next.push(Reader { at, ahead });
        ahead
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sequential_reader_is_read_ahead_for_and_a_random_one_is_not() {
        let mut readers = Readers::default();
        let ahead: Vec<_> = (0..6).map(|at| readers.observe(&(at..at + 1))).collect();
        assert_eq!(ahead, [1, 2, 4, 8, 8, 8]);
        let random: Vec<_> = [50, 30, 90, 10]
            .map(|at| readers.observe(&(at..at + 1)))
            .into();
        assert_eq!(random, [0; 4]);
        assert_eq!(readers.observe(&(6..7)), 8, "the first one goes on");
    }

    #[test]
    fn asking_again_for_the_same_block_is_no_progress() {
        let mut readers = Readers::default();
        let ahead: Vec<_> = (0..9).map(|_| readers.observe(&(0..1))).collect();
        assert_eq!(ahead, [1; 9]);
    }

    proptest! {
        #[test]
        fn what_is_fetched_is_missing_and_exists(
            start in 0_u64..50, count in 0_u64..20, ahead in 0_u64..20, total in 0_u64..60,
            there in prop::collection::hash_set(0_u64..60, 0..40),
        ) {
            let missing = |block: u64| !there.contains(&block);
            let fetched = to_fetch(start..start + count, ahead, total, missing);
            prop_assert!(fetched.len() as u64 <= WINDOW);
            prop_assert!(fetched.is_sorted_by(|one, next| one < next));
            for block in &fetched {
                prop_assert!(missing(*block) && *block < total && *block >= start);
            }
            if count > 0 && start < total && missing(start) {
                prop_assert_eq!(fetched.first(), Some(&start), "what is waited for is fetched");
            }
        }

        #[test]
        fn the_blocks_of_a_range_hold_it(offset in 0_u64..1 << 60, len in 0_u64..1 << 60, size in 1_u64..1 << 30) {
            let blocks = blocks_of(offset, len, size);
            prop_assert!(blocks.start * size <= offset);
            prop_assert!(u128::from(blocks.end) * u128::from(size) >= u128::from(offset) + u128::from(len));
            prop_assert!(!blocks.is_empty());
        }
    }
}
