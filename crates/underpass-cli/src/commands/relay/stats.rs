//! What happened, counted as it happens.

use underpass::Count;

/// Shared by all threads: what a connection adds, it adds once.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) accepted: Count,
    pub(super) open: Count,
    /// Ended because a graceful end took too long.
    pub(super) cut: Count,
}
