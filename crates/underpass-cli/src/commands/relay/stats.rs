//! What happened, counted as it happens.

use std::sync::{Arc, Mutex, PoisonError};

use underpass::Count;
use underpass::relay;

use crate::server::ConnectionCounts;

/// Shared by all threads: what a connection adds, it adds once.
#[derive(Debug, Default)]
pub(super) struct Stats {
    pub(super) connections: Arc<ConnectionCounts>,
    /// Ended because no target could be reached.
    pub(super) unreached: Count,
    /// Targets that could not be reached, while others were there to be tried or not.
    pub(super) connects_failed: Count,
    carried: Mutex<Vec<Arc<relay::Stats>>>,
}

impl Stats {
    /// Counters for the bytes of one thread: those that change at every wake-up are shared with nobody.
    pub(super) fn of_thread(&self) -> Arc<relay::Stats> {
        let stats = Arc::<relay::Stats>::default();
        self.lock().push(Arc::clone(&stats));
        stats
    }

    /// A count of all threads together.
    pub(super) fn sum(&self, count: impl Fn(&relay::Stats) -> &Count) -> u64 {
        self.lock().iter().map(|stats| count(stats).get()).sum()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<relay::Stats>>> {
        self.carried.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
