//! What all objects of a cache share.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::Inner;
use super::catalog::Catalog;
use super::claims::ClaimWriter;
use super::settings::CacheSettings;
use super::stats::Counters;
use crate::error::StoreError;
use crate::store::Store;

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) settings: CacheSettings,
    pub(crate) catalog: Catalog,
    pub(crate) claims: ClaimWriter,
    pub(crate) counters: Counters,
    /// Of fetches.
    pub(crate) permits: Arc<Semaphore>,
    /// As many blocks are fetched for a reader, from the one that he is at.
    pub(crate) window: u64,
    /// Of fetches that nobody waits for.
    pub(crate) ahead: Arc<Semaphore>,
    /// When the disk was full last, by this clock; 0 is never.
    pub(crate) full: AtomicU64,
    pub(crate) epoch: Instant,
    /// The cache itself, for those who have only an object of it.
    pub(crate) cache: OnceLock<Weak<Inner>>,
}

impl Shared {
    /// Milliseconds since the cache was opened, and one more: 0 is never.
    pub(crate) fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64 + 1
    }

    /// Runs what makes system calls that can take a while.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let done = self.store.runtime().spawn_blocking(work).await;
        done.map_err(|_| StoreError::new(crate::ErrorKind::Internal, "the cache was stopped"))
    }

    /// Counts that the disk is full, and tells it, but not again within a minute of the last time.
    pub(crate) fn disk_is_full(&self, error: &StoreError) {
        Counters::add(&self.counters.disk_full, 1);
        let now = self.now();
        let before = self.full.swap(now, Relaxed);
        if before == 0 || now.saturating_sub(before) > TELL_AGAIN {
            self.settings.warn.tell(&format!(
                "{error}; what is in the cache is still served, and the rest again when there is room"
            ));
        }
    }
}

/// In milliseconds.
const TELL_AGAIN: u64 = 60_000;

/// After a failure, nobody asks the store for the same for this long.
pub(crate) const AFTER_FAILURE: Duration = Duration::from_secs(1);
