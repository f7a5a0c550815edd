//! One block: from an earlier run or from the store, into the file.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, pwritev};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinHandle;

use super::super::files;
use super::super::index::Claim;
use super::super::shared::{AFTER_FAILURE, Shared};
use super::super::stats::Counters;
use super::{Fetches, Object, Outcome};
use crate::error::{ErrorKind, StoreError};
use crate::store::Sink;

/// Others use the disk, too: room that was made for a block may be theirs before it is written.
const ATTEMPTS_ON_FULL_DISK: usize = 3;
/// As many bytes go to the file at once, from a multiple of this on.
const PIECE: usize = 1 << 20;
/// The most slices of one call: `IOV_MAX`.
const SLICES: usize = 1024;

/// Starts to fetch a block. It goes on until it is done, whoever leaves. If nobody waits for it,
/// it is not started where that would take others' place; then `false` is returned.
pub(super) fn start(object: &Object, fetches: &mut Fetches, block: u64, wanted: bool) -> bool {
    let shared = &object.shared;
    let mut ahead = None;
    if !wanted {
        match Arc::clone(&shared.ahead).try_acquire_owned() {
            Ok(permit) => ahead = Some(permit),
            Err(_) => return false,
        }
    }
    let Some(object) = object.this.upgrade() else {
        return false;
    };
    let (outcome, receiver) = watch::channel(None);
    fetches.running.insert(block, receiver);
    Counters::add(&shared.counters.fetching, 1);
    let runtime = shared.store.runtime().clone();
    let fill = Fill {
        object,
        block,
        outcome,
        result: None,
    };
    runtime.spawn(fill.run(ahead));
    true
}

/// A block that is on its way. However that ends, those who wait are told.
struct Fill {
    object: Arc<Object>,
    block: u64,
    outcome: watch::Sender<Outcome>,
    result: Outcome,
}

impl Fill {
    async fn run(mut self, ahead: Option<OwnedSemaphorePermit>) {
        let claimed = self.object.lock().claimed.get(&self.block).copied();
        let is_ahead = ahead.is_some();
        let mut result = match claimed {
            Some(crc) => self.verify(crc).await,
            None => Ok(false),
        };
        if let Ok(false) = result {
            result = self.fetch(is_ahead).await.map(|()| true);
        }
        self.result = Some(result.map(drop));
        drop(ahead);
    }

    /// Whether a block of an earlier run is still what it was.
    async fn verify(&self, crc: u64) -> Result<bool, StoreError> {
        let shared = &self.object.shared;
        let (data, range) = (Arc::clone(self.object.file()), self.range());
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
            let (name, block) = (self.object.name(), self.block);
            shared.settings.warn.tell(&format!(
                "block {block} of {name} is damaged in the cache, and is fetched again"
            ));
        }
        Ok(right)
    }

    async fn fetch(&self, is_ahead: bool) -> Result<(), StoreError> {
        let object = &self.object;
        let shared = &object.shared;
        let permit = Arc::clone(&shared.permits).acquire_owned().await;
        // A file system gives room by pages.
        let room = self.bytes().next_multiple_of(4096);
        shared.catalog.reserve(&object.usage, room);
        let crc = match self.fetch_into_room().await {
            Ok(crc) => crc,
            Err(error) => {
                self.give_back().await;
                shared.catalog.release(&object.usage, room);
                return Err(error);
            }
        };
        drop(permit);
        Counters::add(&shared.counters.fills, 1);
        if is_ahead {
            Counters::add(&shared.counters.read_ahead, 1);
        }
        let block = self.block;
        shared.claims.claim(object.journal(), Claim { block, crc });
        Ok(())
    }

    /// What arrived of the block is a hole again: nothing of it was present. On a full disk it
    /// would be in the way of everything else.
    async fn give_back(&self) {
        let (data, range) = (Arc::clone(self.object.file()), self.range());
        let punch = move || {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            fallocate(&*data, flags, range.start, range.end - range.start)
        };
        // Not every file system can. Then the file takes more room than is counted, while it is
        // there.
        let _ = self.object.shared.blocking(punch).await;
    }

    async fn fetch_into_room(&self) -> Result<u64, StoreError> {
        let (usage, all) = (
            Arc::clone(&self.object.usage),
            Arc::clone(&self.object.shared),
        );
        let make_room = move || all.catalog.make_room(&usage, &all.counters);
        self.object.shared.blocking(make_room).await?;
        for _ in 1..ATTEMPTS_ON_FULL_DISK {
            match self.fetch_once().await {
                Err(error) if error.kind() == ErrorKind::DiskFull => {
                    self.free_others(&error).await?;
                }
                other => return other,
            }
        }
        match self.fetch_once().await {
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
        let bytes = 4 * self.bytes();
        let (usage, all) = (Arc::clone(&self.object.usage), Arc::clone(shared));
        let free = move || all.catalog.free_others(bytes, &usage, &all.counters);
        shared.blocking(free).await.map(drop)
    }

    /// Nothing else can leave: this file does, if that frees anything, and whoever reads it begins
    /// a new one. Returns what those who wait are told.
    async fn begin_again(&self, full: StoreError) -> Result<StoreError, StoreError> {
        let object = &self.object;
        object.shared.disk_is_full(&full);
        if object.blocks.count() == 0 {
            return Ok(full);
        }
        let (usage, all) = (Arc::clone(&object.usage), Arc::clone(&object.shared));
        let remove = move || all.catalog.remove(&usage, &all.counters);
        object.shared.blocking(remove).await?;
        Ok(object.evicted())
    }

    /// Returns the checksum of what was written.
    async fn fetch_once(&self) -> Result<u64, StoreError> {
        let range = self.range();
        let mut writer = BlockWriter {
            object: &self.object,
            at: range.start,
            waiting: Vec::new(),
            count: 0,
            writing: None,
            digest: Some(Digest::new(CrcAlgorithm::Crc64Nvme)),
        };
        let store = &self.object.shared.store;
        let read = store.read_into(&self.object.info, range, &mut writer).await;
        if let Err(error) = read {
            // What is being written comes before whatever is done with its place.
            let _ = writer.written().await;
            return Err(error);
        }
        writer.finish().await
    }

    fn bytes(&self) -> u64 {
        self.range().end - self.range().start
    }

    fn range(&self) -> Range<u64> {
        self.object.blocks.range(self.block)
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        let stopped = || {
            Err(StoreError::new(
                ErrorKind::Internal,
                "the cache was stopped",
            ))
        };
        let result = self.result.take().unwrap_or_else(stopped);
        let object = &self.object;
        let shared = &object.shared;
        let mut fetches = object.lock();
        fetches.claimed.remove(&self.block);
        fetches.failed.remove(&self.block);
        match &result {
            Ok(()) => object.blocks.set(self.block),
            Err(error) => {
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
                fetches.failed.insert(self.block, (until, error.clone()));
            }
        }
        fetches.running.remove(&self.block);
        drop(fetches);
        shared.counters.fetching.fetch_sub(1, Relaxed);
        self.outcome.send_replace(Some(result));
    }
}

/// Writes a block into its file, while the next bytes of it arrive.
struct BlockWriter<'a> {
    object: &'a Object,
    at: u64,
    waiting: Vec<Bytes>,
    count: usize,
    writing: Option<JoinHandle<io::Result<Digest>>>,
    /// Taken along by `writing`.
    digest: Option<Digest>,
}

impl Sink for BlockWriter<'_> {
    async fn take(&mut self, mut bytes: Bytes) -> Result<(), StoreError> {
        let count = bytes.len() as u64;
        Counters::add(&self.shared().counters.bytes_from_store, count);
        while self.count + bytes.len() >= PIECE {
            let rest = bytes.split_off(PIECE - self.count);
            self.waiting.push(std::mem::replace(&mut bytes, rest));
            self.count = PIECE;
            self.write().await?;
        }
        self.count += bytes.len();
        self.waiting.push(bytes);
        Ok(())
    }
}

impl BlockWriter<'_> {
    fn shared(&self) -> &Shared {
        &self.object.shared
    }

    async fn finish(mut self) -> Result<u64, StoreError> {
        self.write().await?;
        let digest = self.written().await?;
        Ok(digest.finalize())
    }

    /// Begins to write what has arrived, after what is being written.
    async fn write(&mut self) -> Result<(), StoreError> {
        let mut digest = self.written().await?;
        let (pieces, start) = (std::mem::take(&mut self.waiting), self.at);
        self.at += std::mem::take(&mut self.count) as u64;
        let data = Arc::clone(self.object.file());
        let work = move || write_at(&data, start, &pieces, &mut digest).map(|()| digest);
        self.writing = Some(self.shared().store.runtime().spawn_blocking(work));
        Ok(())
    }

    /// Waits for what is being written.
    async fn written(&mut self) -> Result<Digest, StoreError> {
        let stopped = || StoreError::new(ErrorKind::Internal, "the cache was stopped");
        let Some(writing) = self.writing.take() else {
            return self.digest.take().ok_or_else(stopped);
        };
        let written = writing.await.map_err(|_| stopped())?;
        written.map_err(|error| StoreError::disk("cannot write to the cache", &error))
    }
}

/// Writes pieces behind one another. They come as the network has them, and are written together,
/// because the page cache keeps what one call writes in larger folios, of which sendfile(2) takes
/// less time (see DESIGN.md).
fn write_at(data: &File, mut at: u64, pieces: &[Bytes], digest: &mut Digest) -> io::Result<()> {
    let filled = pieces.iter().filter(|piece| !piece.is_empty());
    let mut slices: Vec<_> = filled.map(|piece| IoSlice::new(piece)).collect();
    let mut left = &mut slices[..];
    while !left.is_empty() {
        let now = &left[..left.len().min(SLICES)];
        match pwritev(data, now, at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => {
                at += count as u64;
                IoSlice::advance_slices(&mut left, count);
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    for piece in pieces {
        digest.update(piece);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_in_their_order_however_many_there_are() {
        let content = underpass_testing::bytes(1, 100_000);
        let mut pieces: Vec<_> = content.chunks(7).map(Bytes::copy_from_slice).collect();
        pieces.insert(3, Bytes::new());
        assert!(pieces.len() > 3 * SLICES);
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        write_at(path.as_file(), 5, &pieces, &mut digest).unwrap();
        let written = std::fs::read(path.path()).unwrap();
        assert!(written[..5] == [0; 5] && written[5..] == content[..]);
        assert_eq!(digest.finalize(), crate::cache::index::crc(&content));
    }
}
