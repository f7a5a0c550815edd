//! A piece of the stream, kept once for all subscribers.

use std::sync::Arc;

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::route::pipe::Pipe;
use crate::sys::Sys;

/// A pipe counts as at least this many bytes, since it takes two descriptors and up to 1 MiB of
/// pages however few bytes it holds. So a lag of 16 MiB means at most 64 pipes.
const LEAST_CHARGE: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Segment {
    start: u64,
    len: u64,
    store: Store,
    /// How many subscribers have their next byte in it.
    pub(super) subscribers: usize,
    /// The bytes it counts as. They stay the same when the pipe is read into memory.
    charge: u64,
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Store {
    /// In a pipe, by splice(2). tee(2) can copy references to them into other pipes.
    Piped(Pipe),
    /// In memory, by read(2). Subscribers that encrypt in this process hold it while they do.
    Memory(Arc<Vec<u8>>),
}

impl Segment {
    pub(super) fn new(start: u64, store: Store) -> Self {
        let (len, charge) = match &store {
            Store::Piped(pipe) => (pipe.held, pipe.held.max(LEAST_CHARGE)),
            Store::Memory(bytes) => (bytes.len() as u64, bytes.capacity() as u64),
        };
        Self {
            start,
            len,
            store,
            subscribers: 0,
            charge,
        }
    }

    /// The position of its first byte in the stream.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The position after its last byte.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn charge(&self) -> u64 {
        self.charge
    }

    pub(super) fn is_piped(&self) -> bool {
        matches!(self.store, Store::Piped(_))
    }

    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// Its pipe; `None` if the segment is in memory or the pipe has lost bytes.
    pub(super) fn into_pipe(self) -> Option<Pipe> {
        match self.store {
            Store::Piped(pipe) if pipe.held == self.len => Some(pipe),
            _ => None,
        }
    }

    /// Appends bytes, if the segment is in memory that nobody holds, and has at most `most` bytes
    /// then. Returns whether it did.
    pub(super) fn append(&mut self, more: &[u8], most: usize) -> bool {
        let Store::Memory(bytes) = &mut self.store else {
            return false;
        };
        match Arc::get_mut(bytes) {
            Some(bytes) if bytes.len() + more.len() <= most => {
                bytes.extend_from_slice(more);
                self.len += more.len() as u64;
                true
            }
            _ => false,
        }
    }

    /// Reads the pipe into memory, for subscribers that cannot get a pipe. Returns the number of
    /// system calls.
    ///
    /// # Errors
    /// Those of read(2). The pipe may then hold less than the segment; the next tee(2) notices
    /// that.
    pub(super) fn read_out<K: Sys>(&mut self, sys: &K) -> Result<u64, Errno> {
        let Store::Piped(pipe) = &mut self.store else {
            return Ok(0);
        };
        let (bytes, calls) = read_all(sys, pipe, self.len)?;
        if let Store::Piped(pipe) =
            std::mem::replace(&mut self.store, Store::Memory(Arc::new(bytes)))
        {
            pipe.put_back();
        }
        Ok(calls)
    }
}

/// Reads the `len` bytes that a pipe holds. Returns them and the number of system calls.
///
/// # Errors
/// Those of read(2), or EIO when the pipe holds fewer bytes. `pipe.held` then counts what is
/// left.
pub(super) fn read_all<K: Sys>(
    sys: &K,
    pipe: &mut Pipe,
    len: u64,
) -> Result<(Vec<u8>, u64), Errno> {
    let mut bytes = vec![0; len as usize];
    let (mut filled, mut calls) = (0, 0);
    while filled < bytes.len() {
        calls += 1;
        match sys.read(pipe.read_end.as_fd(), &mut bytes[filled..]) {
            // The pipe is known to hold bytes, so this is a kernel error.
            Ok(0) | Err(Errno::AGAIN) => return Err(Errno::IO),
            Ok(count) => {
                filled += count;
                pipe.held -= count as u64;
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok((bytes, calls))
}
