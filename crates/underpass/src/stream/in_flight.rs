//! Bytes in flight: taken from the one socket, not yet given to the other. A direction without any
//! has neither a buffer nor a pipe, so that connections which say nothing cost nothing here.

use std::cell::RefCell;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::plan::{OnErrno, on_errno};
use crate::route::Route;
use crate::route::pipe::Pipe;
use crate::sys::Sys;

/// What is copied at once.
pub(crate) const BUFFER: usize = 16 << 10;

/// The same, of bulk that cannot be spliced.
pub(crate) const LARGE: usize = 64 << 10;

/// Bytes of idle buffers that a thread keeps, of either size.
const POOLED: usize = 1 << 20;

/// A pipe that holds less than this is not worth its calls: past `pipe-user-pages-soft` a new one
/// holds two pages (pipe(7)).
const LEAST_PIPE: usize = 64 << 10;

thread_local! {
    static BUFFERS: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// Bytes in a buffer.
#[derive(Debug)]
pub(crate) struct PooledBuffer {
    bytes: Box<[u8]>,
    given: usize,
    end: usize,
}

impl PooledBuffer {
    /// An empty one of [`BUFFER`] or [`LARGE`] bytes, from this thread's pool if it has any.
    pub(crate) fn take(size: usize) -> Self {
        let pooled = BUFFERS.with_borrow_mut(|pools| pools[pool_of(size)].pop());
        Self {
            bytes: pooled.unwrap_or_else(|| vec![0; size].into_boxed_slice()),
            given: 0,
            end: 0,
        }
    }

    pub(crate) fn put_back(self) {
        let size = self.bytes.len();
        BUFFERS.with_borrow_mut(|pools| {
            let pool = &mut pools[pool_of(size)];
            if pool.len() < POOLED / size {
                pool.push(self.bytes);
            }
        });
    }

    /// Where an empty one is filled; [`filled`](Self::filled) says how far it was.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn filled(&mut self, count: usize) {
        (self.given, self.end) = (0, count);
    }

    pub(crate) fn held(&self) -> &[u8] {
        &self.bytes[self.given..self.end]
    }

    fn gave(&mut self, count: usize) {
        self.given += count;
    }
}

fn pool_of(size: usize) -> usize {
    usize::from(size > BUFFER)
}

/// What one direction holds. Bytes in the buffer go before those in the pipe.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) buffer: Option<PooledBuffer>,
    pub(crate) pipe: Option<Pipe>,
}

impl InFlight {
    /// Bytes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        let buffered = self.buffer.as_ref().map_or(0, |buffer| buffer.held().len());
        let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held);
        buffered as u64 + piped
    }

    /// Which route the next bytes to be given came by.
    pub(crate) fn route(&self) -> Option<Route> {
        match self {
            Self {
                buffer: Some(_), ..
            } => Some(Route::ReadWrite),
            Self { pipe: Some(_), .. } => Some(Route::Splice),
            _ => None,
        }
    }

    /// Gives back what is empty.
    pub(crate) fn tidy(&mut self) {
        if let Some(buffer) = self.buffer.take_if(|buffer| buffer.held().is_empty()) {
            buffer.put_back();
        }
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.held == 0) {
            pipe.put_back();
        }
    }

    /// Gives the sink what is in the buffer, by write(2).
    pub(crate) fn write<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<u64, Errno> {
        let Some(buffer) = &mut self.buffer else {
            return Ok(0);
        };
        let count = sys.write(sink, buffer.held())?;
        buffer.gave(count);
        self.tidy();
        some(count)
    }

    /// Gives the sink what is in the pipe, by splice(2); nothing where that is refused.
    pub(crate) fn splice<K: Sys>(
        &mut self,
        sys: &K,
        sink: BorrowedFd<'_>,
    ) -> Result<Option<u64>, Errno> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(Some(0));
        };
        let from = pipe.read_end.as_fd();
        // The next byte may be long in coming, so the sink is never told of more (pitfall 11).
        match sys.splice(from, None, sink, None, pipe.held as usize, FLAGS) {
            Err(errno) if is_refusal(errno) => Ok(None),
            given => {
                let count = given?;
                pipe.held -= count as u64;
                self.tidy();
                some(count).map(Some)
            }
        }
    }

    /// Where splice(2) is refused in the middle: what lies in the pipe goes on through a buffer.
    pub(crate) fn read_out<K: Sys>(&mut self, sys: &K) -> Result<(), Errno> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(());
        };
        let mut buffer = PooledBuffer::take(BUFFER);
        let read = sys.read(pipe.read_end.as_fd(), buffer.room());
        let count = *read.as_ref().unwrap_or(&0);
        pipe.held -= count as u64;
        buffer.filled(count);
        self.buffer = Some(buffer);
        self.tidy();
        match read {
            // Bytes that are known to be there cannot be had.
            Ok(0) | Err(Errno::AGAIN) => Err(Errno::IO),
            read => read.map(|_| ()),
        }
    }

    /// Lets go of everything: a buffer is clean for the next by being overwritten, a pipe with
    /// bytes in it is closed (pitfall 13).
    pub(crate) fn let_go(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffer.put_back();
        }
        if let Some(pipe) = self.pipe.take() {
            pipe.put_back();
        }
    }
}

/// A pipe that is worth splicing through, if one can be had.
pub(crate) fn pipe<K: Sys>(sys: &K) -> Result<Option<Pipe>, Errno> {
    match Pipe::take(sys) {
        Ok(pipe) if pipe.capacity >= LEAST_PIPE => Ok(Some(pipe)),
        // A small one is of no use to the next who asks either.
        Ok(_) => Ok(None),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Neither write(2) nor splice(2) takes none of the bytes there are without saying why; a sink that
/// did would be asked for ever.
pub(crate) fn some(count: usize) -> Result<u64, Errno> {
    if count == 0 {
        Err(Errno::IO)
    } else {
        Ok(count as u64)
    }
}

/// The pipe's side; sockets have their own flag (pitfall 10).
pub(crate) const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// The call is not to be had between these sockets, and copying may serve; an end that is not ready
/// or gone is another matter.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    errno != Errno::AGAIN && on_errno(errno, Route::Splice) == OnErrno::NextRoute
}
