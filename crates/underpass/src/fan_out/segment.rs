//! A piece of the stream, kept once for all subscribers.

use rustix::fd::AsFd;
use rustix::io::Errno;

use crate::route::pipe::Pipe;
use crate::sys::Sys;

/// A pipe counts as so many bytes at least, since it is two descriptors and up to 1 MiB of pages,
/// however few bytes are on them: 16 MiB of lag are 64 pipes at the most.
const LEAST_CHARGE: u64 = 256 << 10;

#[derive(Debug)]
pub(super) struct Segment {
    start: u64,
    len: u64,
    store: Store,
    /// Subscribers whose next byte is in it.
    pub(super) takers: usize,
    /// What it is charged with; it stays the same when a pipe is read out.
    charge: u64,
}

/// Where its bytes are.
#[derive(Debug)]
pub(super) enum Store {
    /// Spliced in; tee(2) gives them to any number of other pipes.
    Piped(Pipe),
    /// Read in.
    Memory(Vec<u8>),
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
            takers: 0,
            charge,
        }
    }

    /// The place of its first byte in the stream.
    pub(super) fn start(&self) -> u64 {
        self.start
    }

    /// The place behind its last byte.
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

    /// Its pipe, with all of its bytes.
    pub(super) fn into_pipe(self) -> Option<Pipe> {
        match self.store {
            Store::Piped(pipe) if pipe.held == self.len => Some(pipe),
            _ => None,
        }
    }

    /// Whether it is memory, and has no more than `most` bytes with so many more.
    pub(super) fn has_room(&self, more: usize, most: usize) -> bool {
        matches!(&self.store, Store::Memory(bytes) if bytes.len() + more <= most)
    }

    /// Adds bytes to memory.
    pub(super) fn append(&mut self, more: &[u8]) {
        if let Store::Memory(bytes) = &mut self.store {
            bytes.extend_from_slice(more);
            self.len += more.len() as u64;
        }
    }

    /// Reads what is in its pipe into memory, for who cannot have a pipe, and says how many calls
    /// that took.
    ///
    /// # Errors
    /// Of read(2). The pipe then holds less than the segment has, which whoever tees it will find.
    pub(super) fn read_out<K: Sys>(&mut self, sys: &K) -> Result<u64, Errno> {
        let Store::Piped(pipe) = &mut self.store else {
            return Ok(0);
        };
        let (bytes, calls) = read_all(sys, pipe, self.len)?;
        if let Store::Piped(pipe) = std::mem::replace(&mut self.store, Store::Memory(bytes)) {
            pipe.put_back();
        }
        Ok(calls)
    }
}

/// The `len` bytes that are in a pipe, and how many calls they took.
///
/// # Errors
/// Of read(2), and when it has fewer; the pipe keeps count of what is left.
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
            // Bytes that are known to be there cannot be had.
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
