//! Archives of directories: their limits, and what requests for them share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::archive::Checksums;

/// How many zip archives are sent at a time. Each may have a thread that reads a file for its
/// checksum, also for a while after its client has left.
const MAX_ZIPS: usize = 64;

/// Limits on archives of directories, see [`ServeDir::archives`](crate::ServeDir::archives).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Archives {
    /// The most files and directories in an archive. A directory with more is answered 403.
    /// Default: 2,000,000.
    pub max_entries: u64,
    /// The most bytes of an archive. A larger one is answered 403. Default: no limit.
    pub max_bytes: u64,
    /// How long listing a directory may take, and waiting for the turn to do so. After that the
    /// response is 503. Default: 60 s.
    pub max_listing_time: Duration,
    /// How many directories are listed at a time; other requests wait. Each takes a thread, and
    /// about 20 MiB of memory for a directory of 1,000,000 names. Default: 4.
    pub max_listings: usize,
}

impl Default for Archives {
    fn default() -> Self {
        Self {
            max_entries: 2_000_000,
            max_bytes: u64::MAX,
            max_listing_time: Duration::from_secs(60),
            max_listings: 4,
        }
    }
}

impl Archives {
    /// Sets [`max_entries`](Self#structfield.max_entries).
    #[must_use]
    pub fn max_entries(self, max_entries: u64) -> Self {
        Self {
            max_entries,
            ..self
        }
    }

    /// Sets [`max_bytes`](Self#structfield.max_bytes).
    #[must_use]
    pub fn max_bytes(self, max_bytes: u64) -> Self {
        Self { max_bytes, ..self }
    }

    /// Sets [`max_listing_time`](Self#structfield.max_listing_time).
    #[must_use]
    pub fn max_listing_time(self, max_listing_time: Duration) -> Self {
        Self {
            max_listing_time,
            ..self
        }
    }

    /// Sets [`max_listings`](Self#structfield.max_listings). 0 means 1.
    #[must_use]
    pub fn max_listings(self, max_listings: usize) -> Self {
        Self {
            max_listings,
            ..self
        }
    }
}

/// What all requests for archives share.
#[derive(Clone, Debug)]
pub(super) struct SharedArchives {
    pub(super) limits: Archives,
    /// Permits to list a directory.
    pub(super) listings: Arc<Semaphore>,
    /// Permits to send a zip archive.
    pub(super) zips: Arc<Semaphore>,
    pub(super) sums: Arc<Checksums>,
}

impl SharedArchives {
    pub(super) fn new(limits: Archives) -> Self {
        let listings = limits.max_listings.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            limits,
            listings: Arc::new(Semaphore::new(listings)),
            zips: Arc::new(Semaphore::new(MAX_ZIPS)),
            sums: Arc::default(),
        }
    }
}
