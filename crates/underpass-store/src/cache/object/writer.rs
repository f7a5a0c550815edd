//! The bytes of a run, written into the file while the next ones arrive.

use std::fs::File;
use std::io::{self, IoSlice};
use std::ops::{ControlFlow, Range};

use bytes::Bytes;
use crc_fast::{CrcAlgorithm, Digest};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::{Errno, pwritev};
use tokio::task::{JoinError, JoinHandle};

use super::super::plan;
use super::run::Run;
use crate::error::{ErrorKind, Failure, StoreError};
use crate::store::{Body, Sink};

/// The most slices of one call: `IOV_MAX`.
const SLICES: usize = 1024;

/// Writes a run piece by piece. Each piece can be sent as soon as it is written.
pub(super) struct RunWriter<'a> {
    run: &'a Run,
    state: State,
}

enum State {
    /// The next bytes are waited for.
    Ready(Writer),
    /// A piece is being written.
    Writing(JoinHandle<io::Result<Writer>>),
    /// That failed.
    Failed,
}

/// What is on its way into the file. Its methods make system calls that can take a while.
struct Writer {
    run: Run,
    /// Where the next piece goes.
    at: u64,
    /// The beginning of that piece.
    waiting: Vec<Bytes>,
    count: u64,
    /// Of the block, as far as it was written.
    digest: Box<Digest>,
    /// Somebody waits for the first bytes.
    is_first: bool,
    /// Another run goes on here.
    is_cut: bool,
}

/// The checksum of a block of which nothing was written.
pub(super) fn no_bytes() -> Box<Digest> {
    Box::new(Digest::new(CrcAlgorithm::Crc64Nvme))
}

impl<'a> RunWriter<'a> {
    /// `digest` is that of the bytes of the block which are before `at`.
    pub(super) fn new(run: &'a Run, at: u64, digest: Box<Digest>) -> Self {
        let writer = Writer {
            run: run.clone(),
            at,
            waiting: Vec::new(),
            count: 0,
            digest,
            is_first: true,
            is_cut: false,
        };
        let state = State::Ready(writer);
        Self { run, state }
    }

    /// Waits for what is being written.
    pub(super) async fn finish(mut self) -> Result<(), StoreError> {
        self.ready().await.map(drop)
    }

    async fn ready(&mut self) -> Result<Writer, StoreError> {
        match std::mem::replace(&mut self.state, State::Failed) {
            State::Ready(writer) => Ok(writer),
            State::Writing(writing) => match writing.await {
                Ok(written) => written.map_err(|error| not_written(&error)),
                Err(error) => Err(stopped(error)),
            },
            State::Failed => Err(StoreError::new(
                ErrorKind::Internal,
                "the cache was stopped",
            )),
        }
    }
}

fn not_written(error: &io::Error) -> StoreError {
    StoreError::disk("cannot write to the cache", error)
}

fn stopped(_: JoinError) -> StoreError {
    StoreError::new(ErrorKind::Internal, "the cache was stopped")
}

impl Sink for RunWriter<'_> {
    const READS: bool = true;

    async fn take(&mut self, mut bytes: Bytes) -> Result<ControlFlow<()>, StoreError> {
        self.run.came(bytes.len());
        loop {
            let mut writer = self.ready().await?;
            if writer.is_cut {
                self.state = State::Ready(writer);
                return Ok(ControlFlow::Break(()));
            }
            let missing = writer.missing();
            if (bytes.len() as u64) < missing {
                writer.keep(bytes);
                self.state = State::Ready(writer);
                return Ok(ControlFlow::Continue(()));
            }
            let rest = bytes.split_off(missing as usize);
            writer.keep(std::mem::replace(&mut bytes, rest));
            let runtime = self.run.object.shared.store.runtime();
            let work = move || writer.write(&[]).map(|()| writer);
            self.state = State::Writing(runtime.spawn_blocking(work));
            if bytes.is_empty() {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }

    async fn take_all(&mut self, body: Body) -> Result<(u64, Result<(), Failure>), StoreError> {
        let mut writer = self.ready().await?;
        let stopper = body.stopper();
        let runtime = self.run.object.shared.store.runtime();
        let work = move || {
            let before = writer.at + writer.count;
            let read = writer.drain(body)?;
            Ok((writer.at + writer.count - before, read, writer))
        };
        let done = runtime.spawn_blocking(work).await;
        stopper.forget();
        let (count, read, writer) = done
            .map_err(stopped)?
            .map_err(|error| not_written(&error))?;
        self.state = State::Ready(writer);
        Ok((count, read))
    }
}

impl Writer {
    /// How many bytes the piece is short of.
    fn missing(&self) -> u64 {
        let blocks = &self.run.object.blocks;
        let block = blocks.range(self.at / blocks.size());
        plan::piece_end(self.at, &block, self.is_first) - self.at - self.count
    }

    fn keep(&mut self, bytes: Bytes) {
        self.count += bytes.len() as u64;
        self.waiting.push(bytes);
    }

    /// Writes a body. What it fails with is the file's; what the body fails with is returned.
    fn drain(&mut self, mut body: Body) -> io::Result<Result<(), Failure>> {
        let mut memory = vec![0; plan::PIECE as usize];
        while body.left() > 0 && !self.is_cut {
            let missing = self.missing();
            let piece = &mut memory[..missing.min(body.left()) as usize];
            let filled = body.fill(piece);
            let count = filled
                .as_ref()
                .map_or_else(|(count, _)| *count, |()| piece.len());
            self.run.came(count);
            if (count as u64) < missing {
                self.keep(Bytes::copy_from_slice(&piece[..count]));
            } else {
                self.count += missing;
                self.write(piece)?;
            }
            if let Err((_, failure)) = filled {
                return Ok(Err(failure));
            }
        }
        body.finish();
        Ok(Ok(()))
    }

    /// Writes a piece: what waited, and what comes after it.
    fn write(&mut self, rest: &[u8]) -> io::Result<()> {
        let blocks = &self.run.object.blocks;
        let block = self.at / blocks.size();
        let range = blocks.range(block);
        let writing = self.run.object.lock_file();
        if self.at == range.start {
            make_place(self.run.object.file(), &range)?;
        }
        let waited = self.waiting.iter().map(|bytes| &bytes[..]);
        let pieces: Vec<&[u8]> = waited.chain([rest]).collect();
        write_at(self.run.object.file(), self.at, &pieces)?;
        drop(writing);
        for piece in pieces {
            self.digest.update(piece);
        }
        self.waiting.clear();
        self.at += std::mem::take(&mut self.count);
        if self.at < range.end {
            self.run.progressed(block, self.at - range.start);
        } else {
            let digest = std::mem::replace(&mut self.digest, no_bytes());
            self.run.written(block, digest.finalize());
            self.is_first = false;
            self.is_cut = !self.run.left().contains(&(block + 1));
        }
        Ok(())
    }
}

/// Has the file system find room for a block at once, which costs less than finding it page by
/// page. A disk that is full says so before the first byte is sent.
fn make_place(data: &File, range: &Range<u64>) -> io::Result<()> {
    let flags = FallocateFlags::KEEP_SIZE;
    match fallocate(data, flags, range.start, range.end - range.start) {
        Err(full @ (Errno::NOSPC | Errno::DQUOT)) => Err(full.into()),
        // Not every file system can.
        _ => Ok(()),
    }
}

/// Writes pieces behind one another. They come as the network has them, and are written together,
/// because the page cache keeps what one call writes in larger folios, of which sendfile(2) takes
/// less time (see DESIGN.md).
fn write_at(data: &File, mut at: u64, pieces: &[&[u8]]) -> io::Result<()> {
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
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_written_in_their_order_however_many_there_are() {
        let content = underpass_testing::bytes(1, 100_000);
        let mut pieces: Vec<_> = content.chunks(7).collect();
        pieces.insert(3, &[]);
        assert!(pieces.len() > 3 * SLICES);
        let path = tempfile::NamedTempFile::new().unwrap();
        write_at(path.as_file(), 5, &pieces).unwrap();
        let written = std::fs::read(path.path()).unwrap();
        assert!(written[..5] == [0; 5] && written[5..] == content[..]);
    }
}
