//! A run of blocks as those see it who fetch it and write it.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::index::Claim;
use super::super::stats::Counters;
use super::Object;

/// A run of an object.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) object: Arc<Object>,
    pub(super) number: u64,
    pub(super) is_ahead: bool,
}

impl Run {
    /// The blocks that have not arrived. Others may take over all but the first two.
    pub(super) fn left(&self) -> Range<u64> {
        self.object.lock().left(self.number)
    }

    /// Bytes came from the store.
    pub(super) fn came(&self, count: usize) {
        let counters = &self.object.shared.counters;
        Counters::add(&counters.bytes_from_store, count as u64);
    }

    /// The first `bytes` of the block whose turn it is are in the file.
    pub(super) fn progressed(&self, block: u64, bytes: u64) {
        self.object.blocks.begin(block, bytes);
        self.object.lock().progressed(block);
    }

    /// The block whose turn it is was written, and has this checksum.
    pub(super) fn written(&self, block: u64, crc: u64) {
        let counters = &self.object.shared.counters;
        Counters::add(&counters.fills, 1);
        if self.is_ahead {
            Counters::add(&counters.read_ahead, 1);
        }
        let journal = self.object.journal();
        self.object
            .shared
            .claims
            .claim(journal, Claim { block, crc });
        self.arrived();
    }

    /// The block whose turn it is is there: now it is the next one's turn.
    pub(super) fn arrived(&self) {
        let mut fetches = self.object.lock();
        let block = fetches.left(self.number).start;
        // The cache may have been stopped meanwhile: then nobody waits.
        let Some(waiting) = fetches.next(self.number) else {
            return;
        };
        self.object.blocks.set(block);
        drop(fetches);
        let counters = &self.object.shared.counters;
        counters.fetching.fetch_sub(1, Relaxed);
        waiting.send_replace(Some(Ok(())));
    }

    /// The bytes of a block.
    pub(super) fn range(&self, block: u64) -> Range<u64> {
        self.object.blocks.range(block)
    }
}
