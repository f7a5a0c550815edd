//! Counts the changes that open-file caches cannot see: uploads, and new rules for paths.

use std::sync::atomic::{AtomicU64, Ordering};

/// Each change invalidates all entries of all caches of this process, because a file can be reached
/// by other paths than the one that it was uploaded to (as an index, a precompressed sibling, by a
/// link, by another service).
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// The number of changes so far. What was looked up before the next one has this number, and counts
/// no longer after it.
pub(crate) fn count() -> u64 {
    CHANGES.load(Ordering::Acquire)
}

/// Something has changed: invalidates all entries.
pub(crate) fn changed() {
    CHANGES.fetch_add(1, Ordering::AcqRel);
}
