//! The bytes of a run, written into the file while the next ones arrive.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::ControlFlow;

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use rustix::io::{Errno, pwritev};
use tokio::task::JoinHandle;

use super::super::plan;
use super::super::stats::Counters;
use super::fill::Run;
use crate::error::{ErrorKind, StoreError};
use crate::store::Sink;

/// The most slices of one call: `IOV_MAX`.
const SLICES: usize = 1024;

/// Writes a run piece by piece. Each piece can be sent as soon as it is written.
pub(super) struct RunWriter<'a> {
    run: &'a Run,
    /// Where the next piece goes.
    at: u64,
    waiting: Vec<Bytes>,
    count: u64,
    writing: Option<JoinHandle<io::Result<Digest>>>,
    /// Of the block as far as it was written. Taken along by `writing`.
    digest: Option<Digest>,
    /// Somebody waits for the first bytes.
    is_first: bool,
}

/// The checksum of a block of which nothing was written.
pub(super) fn no_bytes() -> Digest {
    Digest::new(CrcAlgorithm::Crc64Nvme)
}

impl Sink for RunWriter<'_> {
    async fn take(&mut self, mut bytes: Bytes) -> Result<ControlFlow<()>, StoreError> {
        let counters = &self.run.object.shared.counters;
        Counters::add(&counters.bytes_from_store, bytes.len() as u64);
        loop {
            let missing = self.piece_end() - self.at - self.count;
            if (bytes.len() as u64) < missing {
                self.count += bytes.len() as u64;
                self.waiting.push(bytes);
                return Ok(ControlFlow::Continue(()));
            }
            let rest = bytes.split_off(missing as usize);
            self.count += missing;
            self.waiting.push(std::mem::replace(&mut bytes, rest));
            if self.write().await?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
            if bytes.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }
}

impl<'a> RunWriter<'a> {
    /// `digest` is that of the bytes of the block which are before `at`.
    pub(super) fn new(run: &'a Run, at: u64, digest: Digest) -> Self {
        Self {
            run,
            at,
            waiting: Vec::new(),
            count: 0,
            writing: None,
            digest: Some(digest),
            is_first: true,
        }
    }

    /// Waits for what is being written.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.written().await.map(drop)
    }

    fn block(&self) -> u64 {
        self.at / self.run.object.blocks.size()
    }

    fn piece_end(&self) -> u64 {
        let block = self.run.object.blocks.range(self.block());
        plan::piece_end(self.at, &block, self.is_first)
    }

    /// Begins to write a piece, after what is being written. It ends where another run goes on.
    async fn write(&mut self) -> Result<ControlFlow<()>, StoreError> {
        let mut digest = self.written().await?;
        let (run, block, start) = (self.run.clone(), self.block(), self.at);
        if !run.left().contains(&block) {
            return Ok(ControlFlow::Break(()));
        }
        let pieces = std::mem::take(&mut self.waiting);
        self.at += std::mem::take(&mut self.count);
        let (range, end) = (run.object.blocks.range(block), self.at);
        self.is_first &= end < range.end;
        let runtime = run.object.shared.store.runtime().clone();
        let work = move || {
            write_at(run.object.file(), start, &pieces, &mut digest)?;
            if end < range.end {
                run.progressed(block, end - range.start);
                return Ok(digest);
            }
            run.written(block, digest.finalize());
            Ok(no_bytes())
        };
        self.writing = Some(runtime.spawn_blocking(work));
        Ok(ControlFlow::Continue(()))
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
        let mut digest = no_bytes();
        write_at(path.as_file(), 5, &pieces, &mut digest).unwrap();
        let written = std::fs::read(path.path()).unwrap();
        assert!(written[..5] == [0; 5] && written[5..] == content[..]);
        assert_eq!(digest.finalize(), crate::cache::index::crc(&content));
    }
}
