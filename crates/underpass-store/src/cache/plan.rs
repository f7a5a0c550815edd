//! Which blocks are fetched: decided here, without a store and without a disk.

use std::ops::Range;

/// As many readers of one object are told apart.
const READERS: usize = 16;
/// As many bytes ahead of a reader are fetched, if the cache has room for four times as many.
const WINDOW: u64 = 64 << 20;
/// As many bytes are written by one call, from a multiple of this on. Larger ones gain nothing.
pub(crate) const PIECE: u64 = 1 << 20;
/// Where the first pieces end of a block whose beginning somebody may wait for.
const FIRST_PIECES: [u64; 2] = [64 << 10, 256 << 10];

/// How many blocks, from the one that a reader is at, are fetched at most.
pub(crate) fn window(block_size: u32, max_bytes: u64) -> u64 {
    let size = u64::from(block_size.max(1));
    let fits = (max_bytes / 4 / size).max(1);
    (WINDOW / size).clamp(4, 64).min(fits)
}

/// How many blocks one request fetches at most. A request costs a store as much as a few MiB do, so
/// one for each block would be slow; and many stores send faster by several requests at a time.
pub(crate) fn longest_run(window: u64) -> u64 {
    (window / 4).max(1)
}

/// Where the piece ends that is written from `at` on.
pub(crate) fn piece_end(at: u64, block: &Range<u64>, is_first: bool) -> u64 {
    let inside = at - block.start;
    let first = FIRST_PIECES
        .into_iter()
        .find(|end| is_first && inside < *end);
    let end = first.unwrap_or_else(|| (inside + 1).next_multiple_of(PIECE));
    block.start.saturating_add(end).min(block.end)
}

/// The blocks of a range of bytes, which is not empty.
pub(crate) fn blocks_of(offset: u64, len: u64, size: u64) -> Range<u64> {
    let last = offset.saturating_add(len.max(1) - 1);
    offset / size..last / size + 1
}

/// The blocks to fetch for somebody who wants `wanted`, of which the first is waited for: those of
/// the first `window` that are missing, then `ahead` more. None of them, if all of the window's
/// first half are there: soon there are more of them, for fewer requests. No block is beyond
/// `total`.
pub(crate) fn to_fetch(
    wanted: Range<u64>,
    ahead: u64,
    total: u64,
    window: u64,
    missing: impl Fn(u64) -> bool,
) -> Vec<u64> {
    let first = wanted.start;
    let end = wanted.end.max(wanted.start).min(total);
    let until = end
        .saturating_add(ahead)
        .min(total)
        .min(first.saturating_add(window));
    let blocks: Vec<_> = (first..until).filter(|block| missing(*block)).collect();
    match blocks.first() {
        Some(block) if *block - first <= window / 2 => blocks,
        _ => Vec::new(),
    }
}

/// Blocks in order, as runs that have no gap: each by one request. `is_alone` has a run of its own.
pub(crate) fn runs(
    blocks: &[u64],
    longest: u64,
    is_alone: impl Fn(u64) -> bool,
) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for block in blocks.iter().copied() {
        match runs.last_mut() {
            Some(run)
                if run.end == block
                    && run.end - run.start < longest
                    && !is_alone(run.start)
                    && !is_alone(block) =>
            {
                run.end += 1;
            }
            _ => runs.push(block..block + 1),
        }
    }
    runs
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
    pub(crate) fn observe(&mut self, wanted: &Range<u64>, window: u64) -> u64 {
        let goes_on = |reader: &Reader| wanted.start == reader.at || wanted.start + 1 == reader.at;
        let ahead = match self.next.iter().position(goes_on) {
            Some(found) => {
                let reader = self.next.remove(found);
                // The same block again is the same reader, who has gone no further.
                let further = wanted.end > reader.at;
                if further {
                    (reader.ahead * 2).clamp(1, window)
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
        let ahead: Vec<_> = (0..6).map(|at| readers.observe(&(at..at + 1), 8)).collect();
        assert_eq!(ahead, [1, 2, 4, 8, 8, 8]);
        let random: Vec<_> = [50, 30, 90, 10]
            .map(|at| readers.observe(&(at..at + 1), 8))
            .into();
        assert_eq!(random, [0; 4]);
        assert_eq!(readers.observe(&(6..7), 8), 8, "the first one goes on");
    }

    #[test]
    fn asking_again_for_the_same_block_is_no_progress() {
        let mut readers = Readers::default();
        let ahead: Vec<_> = (0..9).map(|_| readers.observe(&(0..1), 8)).collect();
        assert_eq!(ahead, [1; 9]);
    }

    proptest! {
        #[test]
        fn what_is_fetched_is_missing_and_exists(
            start in 0_u64..50, count in 0_u64..20, ahead in 0_u64..20, total in 0_u64..60,
            window in 1_u64..20, longest in 1_u64..9,
            there in prop::collection::hash_set(0_u64..60, 0..40),
            alone in prop::collection::hash_set(0_u64..60, 0..5),
        ) {
            let missing = |block: u64| !there.contains(&block);
            let fetched = to_fetch(start..start + count, ahead, total, window, missing);
            prop_assert!(fetched.len() as u64 <= window);
            prop_assert!(fetched.is_sorted_by(|one, next| one < next));
            for block in &fetched {
                prop_assert!(missing(*block) && *block < total && *block >= start);
            }
            if count > 0 && start < total && missing(start) {
                prop_assert_eq!(fetched.first(), Some(&start), "what is waited for is fetched");
            }
            let runs = runs(&fetched, longest, |block| alone.contains(&block));
            let blocks: Vec<_> = runs.iter().cloned().flatten().collect();
            prop_assert_eq!(blocks, fetched, "each once, in order");
            for run in runs {
                let count = run.end - run.start;
                prop_assert!(count <= longest);
                prop_assert!(count == 1 || run.clone().all(|block| !alone.contains(&block)));
            }
        }

        #[test]
        fn pieces_end_in_their_block(
            start in 0_u64..1 << 40, len in 1_u64..64 << 20, at in 0_u64..64 << 20, first: bool,
        ) {
            let (block, at) = (start..start + len, start + at % len);
            let end = piece_end(at, &block, first);
            prop_assert!(at < end && end <= block.end);
            prop_assert!(end - at <= PIECE);
            // Afterwards they are whole ones, which the page cache keeps in larger folios.
            prop_assert!(end == block.end || first || (end - start).is_multiple_of(PIECE));
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
