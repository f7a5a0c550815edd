//! What of an object is on its way, and what failed.

use std::collections::HashMap;
use std::ops::Range;
use std::time::Instant;

use tokio::sync::watch;

use super::super::plan::Readers;
use crate::error::StoreError;

/// What is under way and what failed.
#[derive(Default)]
pub(super) struct Fetches {
    /// Blocks behind one another that one request fetches, by its number: from the one that is
    /// arriving to the last one.
    runs: HashMap<u64, Range<u64>>,
    /// As many runs were begun.
    begun: u64,
    /// Those who wait for a block of a run are told of each part of it that arrives, and at last
    /// of the outcome.
    running: HashMap<u64, watch::Sender<Outcome>>,
    /// Until when nobody tries again, and why.
    pub(super) failed: HashMap<u64, (Instant, StoreError)>,
    /// Of an earlier process, not verified yet.
    pub(super) claimed: HashMap<u64, u64>,
    pub(super) readers: Readers,
    /// There is another version, so nothing more of this one can be had.
    pub(super) ended: Option<StoreError>,
}

/// `None` while the fetch is under way.
pub(super) type Outcome = Option<Result<(), StoreError>>;

impl Fetches {
    pub(super) fn new(claimed: HashMap<u64, u64>) -> Self {
        Self {
            claimed,
            ..Self::default()
        }
    }

    /// Begins a run, and returns its number.
    pub(super) fn begin(&mut self, blocks: Range<u64>) -> u64 {
        for block in blocks.clone() {
            self.running.insert(block, watch::Sender::new(None));
        }
        self.begun += 1;
        self.runs.insert(self.begun, blocks);
        self.begun
    }

    /// The blocks that have not arrived of a run. Nothing, if it ended.
    pub(super) fn left(&self, run: u64) -> Range<u64> {
        self.runs.get(&run).cloned().unwrap_or(0..0)
    }

    pub(super) fn is_running(&self, block: u64) -> bool {
        self.running.contains_key(&block)
    }

    pub(super) fn subscribe(&self, block: u64) -> Option<watch::Receiver<Outcome>> {
        self.running.get(&block).map(watch::Sender::subscribe)
    }

    /// Tells those who wait for a block that more of it is there.
    pub(super) fn progressed(&self, block: u64) {
        if let Some(waiting) = self.running.get(&block) {
            waiting.send_modify(|_| ());
        }
    }

    /// The first block of a run is done. Returns who waits for it.
    pub(super) fn next(&mut self, run: u64) -> Option<watch::Sender<Outcome>> {
        let blocks = self.runs.get_mut(&run)?;
        let block = blocks.next()?;
        self.claimed.remove(&block);
        self.failed.remove(&block);
        self.running.remove(&block)
    }

    /// Ends a run. Those who wait for what is left of it begin again. Returns how much that is.
    pub(super) fn end(&mut self, run: u64) -> u64 {
        let left = self.runs.remove(&run).unwrap_or(0..0);
        let count = left.end - left.start;
        for block in left {
            self.running.remove(&block);
        }
        count
    }

    /// Ends the run that has a block before that block, unless the block is its turn now or next:
    /// somebody waits for it, and what comes before it may take a while. Returns of how many blocks
    /// the run is relieved.
    pub(super) fn cut_before(&mut self, block: u64) -> u64 {
        let later = |run: &&mut Range<u64>| run.contains(&block) && block > run.start + 1;
        let Some(run) = self.runs.values_mut().find(later) else {
            return 0;
        };
        let relieved = block..std::mem::replace(&mut run.end, block);
        let count = relieved.end - relieved.start;
        for block in relieved {
            self.running.remove(&block);
        }
        count
    }
}
