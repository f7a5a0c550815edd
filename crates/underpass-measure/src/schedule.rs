//! The order of the samples: round by round, and within a round way by way, so that a drift of the
//! machine affects all ways alike.

use crate::way::CALL;

/// One cell of the tables, by the indices of its parts in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) network: usize,
    pub(crate) bytes: u64,
    pub(crate) way: usize,
}

/// All cells, with the ways of one size side by side.
pub(crate) fn cells(networks: usize, sizes: &[u64], ways: usize) -> Vec<Cell> {
    let mut cells = Vec::new();
    for network in 0..networks {
        for &bytes in sizes {
            cells.extend((0..ways).map(|way| Cell {
                network,
                bytes,
                way,
            }));
        }
    }
    cells
}

/// The order of one round, as indices into `cells`. The ways of a size stay together. Each round
/// starts with another way, so that the way that runs before a given one differs.
pub(crate) fn round(cells: usize, ways: usize, round: u32) -> Vec<usize> {
    let ways = ways.max(1);
    let first = round as usize % ways;
    (0..cells)
        .map(|index| index - index % ways + (index % ways + first) % ways)
        .collect()
}

/// Enough for a mean. More repeats of the smallest files would only take longer.
const MOST_REPEATS: u64 = 1000;

/// How often a file of `bytes` is sent to move about `sample` bytes.
pub(crate) fn repeats(bytes: u64, sample: u64) -> u64 {
    sample.div_ceil(bytes.max(1)).clamp(1, MOST_REPEATS)
}

/// The length of a stream by which this many consumers together get about `bytes`, but long enough
/// to be bulk.
pub(crate) fn of_stream(bytes: u64, consumers: u32) -> u64 {
    const LEAST: u64 = 1 << 20;
    whole_units(bytes / u64::from(consumers)).max(LEAST)
}

/// Rounds `bytes` to a multiple of what one call moves.
pub(crate) fn whole_units(bytes: u64) -> u64 {
    (bytes / CALL as u64).max(1) * CALL as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_takes_every_cell_once_and_keeps_sizes_together() {
        let cells = cells(2, &[10, 20], 3);
        assert_eq!(cells.len(), 12);
        assert_eq!((cells[4].network, cells[4].bytes, cells[4].way), (0, 20, 1));
        assert_eq!(round(6, 3, 0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(round(6, 3, 1), [1, 2, 0, 4, 5, 3]);
        assert_eq!(round(6, 3, 3), round(6, 3, 0));
    }

    #[test]
    fn small_files_are_sent_often_and_large_ones_once() {
        assert_eq!(repeats(1024, 4096), 4);
        assert_eq!(repeats(5000, 4096), 1);
        assert_eq!(repeats(3000, 4096), 2);
        assert_eq!(repeats(1, 1 << 30), MOST_REPEATS);
        assert_eq!(whole_units(70_000), 65_536);
        assert_eq!(whole_units(1), 65_536);
    }
}
