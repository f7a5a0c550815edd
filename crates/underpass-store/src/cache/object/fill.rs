//! One run of blocks: from an earlier process or from the store, into the file.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use crc_fast::Digest;
use rustix::fs::{FallocateFlags, fallocate};
use tokio::sync::OwnedSemaphorePermit;

use super::super::files;
use super::super::shared::AFTER_FAILURE;
use super::super::stats::Counters;
use super::Object;
use super::fetches::Fetches;
use super::run::Run;
use super::writer::{self, RunWriter};
use crate::error::{ErrorKind, StoreError};
use crate::store::Begun;

/// Others use the disk, too: room that was made for a block may be theirs before it is written.
const ATTEMPTS_ON_FULL_DISK: usize = 3;
/// A file system gives room by pages.
const PAGE: u64 = 4096;

/// Starts to fetch a run of blocks. It goes on until it is done, whoever leaves. If nobody waits
/// for it, it is not started where that would take others' place; then `false` is returned. The
/// store may have begun to answer the first request already.
pub(super) fn start(
    object: &Object,
    fetches: &mut Fetches,
    blocks: Range<u64>,
    is_waited_for: bool,
    answer: Option<Begun>,
) -> bool {
    let shared = &object.shared;
    let mut ahead = None;
    if !is_waited_for {
        match Arc::clone(&shared.ahead).try_acquire_owned() {
            Ok(permit) => ahead = Some(permit),
            Err(_) => return false,
        }
    }
    let Some(object) = object.this.upgrade() else {
        return false;
    };
    Counters::add(&shared.counters.fetching, blocks.end - blocks.start);
    let fill = Fill {
        run: Run {
            object,
            number: fetches.begin(blocks),
            is_ahead: ahead.is_some(),
        },
        failure: Some(StoreError::new(
            ErrorKind::Internal,
            "the cache was stopped",
        )),
    };
    shared.store.runtime().spawn(fill.run(ahead, answer));
    true
}

/// Blocks that are on their way. However that ends, those who wait are told.
struct Fill {
    run: Run,
    /// Why the block whose turn it is does not arrive.
    failure: Option<StoreError>,
}

impl Fill {
    async fn run(mut self, ahead: Option<OwnedSemaphorePermit>, answer: Option<Begun>) {
        let first = self.run.left().start;
        let claimed = self.run.object.lock().claimed.get(&first).copied();
        let verified = match claimed {
            Some(crc) => self.run.verify(first, crc).await,
            None => Ok(false),
        };
        let result = match verified {
            Ok(true) => {
                self.run.arrived();
                Ok(())
            }
            Ok(false) => self.run.fetch(answer).await,
            Err(error) => Err(error),
        };
        self.failure = result.err();
        drop(ahead);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let (object, number) = (&self.run.object, self.run.number);
        let shared = &object.shared;
        let mut fetches = object.lock();
        let block = fetches.left(number).start;
        let told = self.failure.take().and_then(|error| {
            let waiting = fetches.next(number)?;
            shared.counters.fetching.fetch_sub(1, Relaxed);
            Some((waiting, error))
        });
        if let Some((_, error)) = &told {
            Counters::add(&shared.counters.failed_fills, 1);
            if error.kind() == ErrorKind::Changed {
                if fetches.ended.is_none() {
                    Counters::add(&shared.counters.changed, 1);
                }
                fetches.ended = Some(error.clone());
                object.replaced();
            }
            let wait = error.retry_after().unwrap_or_default().max(AFTER_FAILURE);
            let until = Instant::now() + wait;
            fetches.failed.insert(block, (until, error.clone()));
        }
        let left = fetches.end(number);
        shared.counters.fetching.fetch_sub(left, Relaxed);
        drop(fetches);
        if let Some((waiting, error)) = told {
            waiting.send_replace(Some(Err(error)));
        }
    }
}

impl Run {
    /// Whether a block of an earlier process is still what it was.
    async fn verify(&self, block: u64, crc: u64) -> Result<bool, StoreError> {
        let shared = &self.object.shared;
        let (data, range) = (Arc::clone(self.object.file()), self.range(block));
        let right = shared
            .blocking(move || files::verify(&data, range, crc))
            .await?;
        let right = right.unwrap_or(false);
        let counter = if right {
            &shared.counters.verified
        } else {
            &shared.counters.damaged
        };
        Counters::add(counter, 1);
        if !right {
            let name = self.object.name();
            shared.settings.warn.tell(&format!(
                "block {block} of {name} is damaged in the cache, and is fetched again"
            ));
        }
        Ok(right)
    }

    async fn fetch(&self, answer: Option<Begun>) -> Result<(), StoreError> {
        let (object, shared) = (&self.object, &self.object.shared);
        let _permit = Arc::clone(&shared.permits).acquire_owned().await;
        let blocks = self.left();
        let rooms: Vec<_> = blocks.clone().map(|block| self.room(block)).collect();
        shared.catalog.reserve(&object.usage, rooms.iter().sum());
        let result = self.fetch_into_room(answer).await;
        let left = self.left();
        let arrived = (left.start - blocks.start) as usize;
        // What did not arrive, or arrives by another run, takes no room of this one.
        let mut unused: u64 = rooms[arrived..].iter().sum();
        if result.is_err() && !left.is_empty() {
            self.give_back(left.start).await;
            unused -= rooms[arrived] - self.room(left.start);
        }
        shared.catalog.release(&object.usage, unused);
        result
    }

    /// How much more room a block takes when it arrives.
    fn room(&self, block: u64) -> u64 {
        let range = self.range(block);
        let begun = self.object.blocks.begun(block).next_multiple_of(PAGE);
        let whole = (range.end - range.start).next_multiple_of(PAGE);
        whole.saturating_sub(begun)
    }

    /// What arrived of a block, but may not be sent, is a hole again. On a full disk it would be in
    /// the way of everything else.
    async fn give_back(&self, block: u64) {
        let (data, mut range) = (Arc::clone(self.object.file()), self.range(block));
        range.start += self.object.blocks.begun(block);
        let punch = move || {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&*data, flags, range.start, range.end - range.start)
        };
        // Not every file system can. Then the file takes more room than is counted, while it is
        // there.
        let _ = self.object.shared.blocking(punch).await;
    }

    async fn fetch_into_room(&self, mut answer: Option<Begun>) -> Result<(), StoreError> {
        let (usage, all) = (
            Arc::clone(&self.object.usage),
            Arc::clone(&self.object.shared),
        );
        let make_room = move || all.catalog.make_room(&usage, &all.counters);
        self.object.shared.blocking(make_room).await?;
        for _ in 1..ATTEMPTS_ON_FULL_DISK {
            match self.fetch_once(answer.take()).await {
                Err(error) if error.kind() == ErrorKind::DiskFull => {
                    self.free_others(&error).await?;
                }
                other => return other,
            }
        }
        match self.fetch_once(None).await {
            Err(error) if error.kind() == ErrorKind::DiskFull => {
                Err(self.begin_again(error).await?)
            }
            other => other,
        }
    }

    /// The disk is full, perhaps for others' sake: other files leave the cache.
    async fn free_others(&self, full: &StoreError) -> Result<(), StoreError> {
        let shared = &self.object.shared;
        shared.disk_is_full(full);
        let bytes = 4 * self.object.blocks.size();
        let (usage, all) = (Arc::clone(&self.object.usage), Arc::clone(shared));
        let free = move || all.catalog.free_others(bytes, &usage, &all.counters);
        shared.blocking(free).await.map(drop)
    }

    /// Nothing else can leave: this file does, if that frees anything, and whoever reads it begins
    /// a new one. Returns what those who wait are told.
    async fn begin_again(&self, full: StoreError) -> Result<StoreError, StoreError> {
        let object = &self.object;
        object.shared.disk_is_full(&full);
        if object.blocks.is_empty() {
            return Ok(full);
        }
        let (usage, all) = (Arc::clone(&object.usage), Arc::clone(&object.shared));
        let remove = move || all.catalog.remove(&usage, &all.counters);
        object.shared.blocking(remove).await?;
        Ok(object.evicted())
    }

    /// Fetches what is left, from the first byte that is not there.
    async fn fetch_once(&self, answer: Option<Begun>) -> Result<(), StoreError> {
        let left = self.left();
        if left.is_empty() {
            return Ok(());
        }
        let begun = self.object.blocks.begun(left.start);
        let start = self.range(left.start).start;
        let at = start + begun;
        let digest = self.digest(start..at).await?;
        let mut writer = RunWriter::new(self, at, digest);
        let store = &self.object.shared.store;
        let end = self.range(left.end - 1).end;
        let read = store
            .read_into(&self.object.info, at..end, answer, &mut writer)
            .await;
        // What is being written comes before whatever is done with its place.
        read.and(writer.finish().await)
    }

    /// Of bytes that are in the file.
    async fn digest(&self, range: Range<u64>) -> Result<Box<Digest>, StoreError> {
        if range.is_empty() {
            return Ok(writer::no_bytes());
        }
        let data = Arc::clone(self.object.file());
        let read = self.object.shared.blocking(move || {
            let bytes = files::read(&data, range)?;
            let mut digest = writer::no_bytes();
            digest.update(&bytes);
            Ok(digest)
        });
        let failed = |error| StoreError::disk("cannot read from the cache", &error);
        read.await?.map_err(failed)
    }
}
