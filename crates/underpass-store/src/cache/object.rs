//! One version of one object, as a sparse file whose blocks arrive when they are wanted.

mod fetches;
mod fill;
mod run;
mod writer;

use std::fmt;
use std::fs::File;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

use self::fetches::{Fetches, Outcome};
#[cfg(feature = "http")]
use super::Cache;
use super::blocks::Blocks;
use super::catalog::Usage;
use super::claims::Journal;
use super::files::Files;
use super::plan;
use super::shared::Shared;
use crate::error::{ErrorKind, StoreError};
use crate::store::{Begun, ObjectInfo};

/// One version of one object, as a file.
///
/// The file is as long as the object from the beginning. What is not there yet reads as zeros, so
/// nobody may send more than [`present`](Self::present) says. Bytes that are there stay there for
/// as long as the object is held: when it leaves the cache, only its names are removed.
pub struct Object {
    info: ObjectInfo,
    files: Files,
    blocks: Blocks,
    usage: Arc<Usage>,
    shared: Arc<Shared>,
    /// By the shared clock; 0 is never.
    fresh_until: AtomicU64,
    confirmed: AtomicU64,
    fetches: Mutex<Fetches>,
    /// Held while something is written into the file.
    writing: Mutex<()>,
    this: Weak<Self>,
}

impl Object {
    pub(crate) fn new(
        info: ObjectInfo,
        mut files: Files,
        usage: Arc<Usage>,
        shared: &Arc<Shared>,
    ) -> Arc<Self> {
        let fetches = Fetches::new(std::mem::take(&mut files.claimed));
        Arc::new_cyclic(|this| Self {
            blocks: Blocks::new(info.len, shared.settings.block_size),
            info,
            files,
            usage,
            shared: Arc::clone(shared),
            fresh_until: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            fetches: Mutex::new(fetches),
            writing: Mutex::default(),
            this: this.clone(),
        })
    }

    /// What the store says of it.
    pub fn info(&self) -> &ObjectInfo {
        &self.info
    }

    /// Relative to the store's prefix.
    pub fn key(&self) -> &str {
        &self.info.key
    }

    /// In bytes.
    pub fn len(&self) -> u64 {
        self.info.len
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.info.len == 0
    }

    /// With its quotes, as in the field `ETag`.
    pub fn etag(&self) -> Option<&str> {
        self.info.etag.as_deref()
    }

    /// If the bucket keeps versions.
    pub fn version(&self) -> Option<&str> {
        self.info.version.as_deref()
    }

    /// In whole seconds.
    pub fn modified(&self) -> Option<SystemTime> {
        self.info.modified
    }

    /// `Content-Type`
    pub fn content_type(&self) -> Option<&str> {
        self.info.content_type.as_deref()
    }

    /// `Cache-Control`
    pub fn cache_control(&self) -> Option<&str> {
        self.info.cache_control.as_deref()
    }

    /// `Content-Encoding`
    pub fn content_encoding(&self) -> Option<&str> {
        self.info.content_encoding.as_deref()
    }

    /// What follows `x-amz-meta-`, and its value, ordered by name.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.info.metadata
    }

    /// The file, as long as the object. Send nothing of it that is not [`present`](Self::present).
    pub fn file(&self) -> &Arc<File> {
        &self.files.data
    }

    /// Whether the store confirmed it within `revalidate` of the settings, and it has not been
    /// replaced or evicted since. No system call.
    pub fn is_fresh(&self) -> bool {
        self.shared.now() < self.fresh_until.load(Acquire) && !self.usage.is_evicted()
    }

    /// Whether all of it is there.
    pub fn is_whole(&self) -> bool {
        self.blocks.is_whole()
    }

    /// How many bytes from `offset` on may be sent, up to `max`. Never waits; no system call.
    pub fn present(&self, offset: u64, max: u64) -> u64 {
        self.blocks.present(offset, max)
    }

    /// Waits until at least one byte at `offset` may be sent, and returns how many may be, up to
    /// `len`; 0 at the end of the object. Fetches what is missing of the first blocks of the range,
    /// and reads ahead for those who read in order: so call it too where bytes are there. The bytes
    /// of a block can be sent while its last ones are still on their way.
    ///
    /// Whoever asks, a block is fetched once, and blocks behind one another by one request. After a
    /// failure, everybody who waits for the block that was on its way gets the same error, and the
    /// store is not asked for that block for a second.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Changed`]: the object was replaced; what is present is still of this version.
    /// [`ErrorKind::Evicted`]: ask [`Cache::reopen`](super::Cache::reopen).
    /// [`ErrorKind::DiskFull`], or why the store did not give the bytes, after retries.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: what is being fetched goes on.
    pub async fn want(&self, offset: u64, len: u64) -> Result<u64, StoreError> {
        if offset >= self.info.len || len == 0 {
            return Ok(0);
        }
        self.touch();
        let mut waits = false;
        loop {
            let fetch = if self.blocks.is_whole() {
                Ok(None)
            } else {
                self.fetch(offset, len, !waits)
            };
            let present = self.present(offset, len);
            if present > 0 {
                return Ok(present);
            }
            waits = true;
            if let Some(fetch) = fetch? {
                self.arrives(fetch, offset).await?;
            }
        }
    }

    /// Waits for a byte of a block that is on its way. It can return too early.
    async fn arrives(
        &self,
        mut fetch: watch::Receiver<Outcome>,
        offset: u64,
    ) -> Result<(), StoreError> {
        while self.present(offset, 1) == 0 {
            // An error says that the fetch was dropped: then the next round begins another one.
            if fetch.changed().await.is_err() {
                break;
            }
            let outcome = fetch.borrow_and_update().clone();
            match outcome {
                Some(Err(_)) if self.present(offset, 1) > 0 => break,
                Some(outcome) => return outcome,
                None => {}
            }
        }
        Ok(())
    }

    /// The cache that it is of, unless that is gone.
    #[cfg(feature = "http")]
    pub(crate) fn cache(&self) -> Option<Cache> {
        self.shared.cache.get()?.upgrade().map(Cache)
    }

    pub(crate) fn usage(&self) -> &Arc<Usage> {
        &self.usage
    }

    pub(crate) fn touch(&self) {
        self.shared.catalog.touch(&self.usage);
    }

    /// The store confirmed it now.
    pub(crate) fn confirm(&self) {
        self.confirmed.store(self.shared.now(), Release);
        self.fresh_for(self.shared.settings.revalidate);
    }

    /// Nobody asks the store for so long.
    pub(crate) fn fresh_for(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let until = self.shared.now().saturating_add(time);
        self.fresh_until.store(until, Release);
    }

    /// How long ago the store confirmed it.
    pub(crate) fn unconfirmed(&self) -> Duration {
        let confirmed = self.confirmed.load(Acquire);
        Duration::from_millis(self.shared.now().saturating_sub(confirmed))
    }

    /// The store has another version, or none.
    pub(crate) fn replaced(&self) {
        self.fresh_until.store(0, Release);
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.usage.is_evicted() || self.lock().ended.is_some()
    }

    fn journal(&self) -> &Arc<Journal> {
        &self.files.journal
    }

    /// For whoever writes into the file. Several runs arrive at a time, and the kernel writes for
    /// one of them at a time: the others would wait in a loop that takes a processor.
    fn lock_file(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Fetches> {
        self.fetches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts what is missing of a range, and returns the fetch of its first block, if that is
    /// under way.
    fn fetch(
        &self,
        offset: u64,
        len: u64,
        observe: bool,
    ) -> Result<Option<watch::Receiver<Outcome>>, StoreError> {
        let (size, window) = (self.blocks.size(), self.shared.window);
        let wanted = plan::blocks_of(offset, len, size);
        let first = wanted.start;
        let mut fetches = self.lock();
        let ahead = if observe {
            fetches.readers.observe(&wanted, window)
        } else {
            0
        };
        if self.present(offset, 1) == 0 {
            let cut = fetches.cut_before(first);
            self.shared.counters.fetching.fetch_sub(cut, Relaxed);
        }
        let missing = |block| !self.blocks.has(block) && !fetches.is_running(block);
        let mut blocks = plan::to_fetch(wanted, ahead, self.blocks.total(), window, missing);
        let failure = match blocks.first() {
            Some(block) if *block == first => self.cannot(&mut fetches, first),
            _ => None,
        };
        if let Some(error) = failure {
            return Err(error);
        }
        blocks.retain(|block| self.cannot(&mut fetches, *block).is_none());
        let is_alone = |block| fetches.claimed.contains_key(&block);
        for run in plan::runs(&blocks, plan::longest_run(window), is_alone) {
            let is_waited_for = run.contains(&first);
            if !fill::start(self, &mut fetches, run, is_waited_for, None) {
                break;
            }
        }
        Ok(fetches.subscribe(first))
    }

    /// The answer to a request for its first block has come: the block goes into the file, unless
    /// that has it, or will have it. Then `false` is returned.
    pub(crate) fn begin(&self, answer: Begun) -> bool {
        let mut fetches = self.lock();
        let is_known = self.blocks.has(0) || fetches.is_running(0);
        if is_known || self.is_empty() || self.cannot(&mut fetches, 0).is_some() {
            return false;
        }
        fill::start(self, &mut fetches, 0..1, true, Some(answer))
    }

    /// Why a block is not fetched now.
    fn cannot(&self, fetches: &mut Fetches, block: u64) -> Option<StoreError> {
        if fetches.claimed.contains_key(&block) {
            return None;
        }
        if let Some(error) = &fetches.ended {
            return Some(error.clone());
        }
        if self.usage.is_evicted() {
            return Some(self.evicted());
        }
        let (until, error) = fetches.failed.get(&block)?;
        if Instant::now() < *until {
            return Some(error.clone());
        }
        fetches.failed.remove(&block);
        None
    }

    fn evicted(&self) -> StoreError {
        let message = format!("{} left the cache while it was being read", self.name());
        StoreError::new(ErrorKind::Evicted, message)
    }

    fn name(&self) -> String {
        self.shared.store.name_of(&self.info.key)
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("info", &self.info)
            .field("whole", &self.is_whole())
            .field("fresh_until", &self.fresh_until.load(Relaxed))
            .finish_non_exhaustive()
    }
}
