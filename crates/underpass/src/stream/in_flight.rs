//! Bytes in flight: read from one socket and not yet written to the other. Buffers and pipes are
//! pooled; an idle connection holds neither.

use std::cell::RefCell;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::layer::CallError;
use crate::plan::{OnErrno, on_errno};
use crate::route::Route;
use crate::route::pipe::Pipe;
use crate::sys::Sys;
use crate::wire::Port;

/// Size of a read in the copying mode, in bytes.
pub(crate) const BUFFER: usize = 16 << 10;

/// Size of a read while bulk data cannot be spliced, in bytes.
pub(crate) const LARGE: usize = 64 << 10;

/// Most bytes of idle buffers of one size that a thread keeps in its pool.
const POOLED: usize = 1 << 20;

/// A pipe with less capacity than this is not worth its system calls. Beyond the limit
/// `pipe-user-pages-soft` the kernel makes pipes of only two pages (pipe(7)).
const LEAST_PIPE: usize = 64 << 10;

thread_local! {
    static BUFFERS: RefCell<[Vec<Box<[u8]>>; 2]> = const { RefCell::new([Vec::new(), Vec::new()]) };
}

/// A buffer from the thread's pool, and which of its bytes are still to be written.
#[derive(Debug)]
pub(crate) struct PooledBuffer {
    bytes: Box<[u8]>,
    given: usize,
    end: usize,
}

impl PooledBuffer {
    /// Takes an empty buffer of [`BUFFER`] or [`LARGE`] bytes from this thread's pool, or allocates
    /// one.
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

    /// The memory to read into. Call [`filled`](Self::filled) afterwards.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    pub(crate) fn filled(&mut self, count: usize) {
        (self.given, self.end) = (0, count);
    }

    pub(crate) fn held(&self) -> &[u8] {
        &self.bytes[self.given..self.end]
    }
}

fn pool_of(size: usize) -> usize {
    usize::from(size > BUFFER)
}

/// Memory that several sinks share, and which of its bytes are still to be sent to this one.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    bytes: Arc<Vec<u8>>,
    given: usize,
}

impl SharedMemory {
    /// The bytes from `given` on are still to be sent.
    pub(crate) fn from(bytes: Arc<Vec<u8>>, given: usize) -> Self {
        Self { bytes, given }
    }

    fn held(&self) -> &[u8] {
        &self.bytes[self.given..]
    }
}

/// The bytes that one direction has in flight. Those in the buffer come before those in the pipe.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pub(crate) buffer: Option<PooledBuffer>,
    /// Only of sinks that encrypt in this process, which have no buffer or pipe.
    pub(crate) shared: Option<SharedMemory>,
    pub(crate) pipe: Option<Pipe>,
}

impl InFlight {
    /// Bytes in flight.
    pub(crate) fn bytes(&self) -> u64 {
        let buffered = self.buffer.as_ref().map_or(0, |buffer| buffer.held().len());
        let shared = self.shared.as_ref().map_or(0, |shared| shared.held().len());
        let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held);
        (buffered + shared) as u64 + piped
    }

    /// The route by which the next bytes in flight were read; `None` if there are none.
    pub(crate) fn route(&self) -> Option<Route> {
        match self {
            Self {
                buffer: Some(_), ..
            }
            | Self {
                shared: Some(_), ..
            } => Some(Route::ReadWrite),
            Self { pipe: Some(_), .. } => Some(Route::Splice),
            _ => None,
        }
    }

    /// Returns an empty buffer or pipe to its pool.
    pub(crate) fn tidy(&mut self) {
        if let Some(buffer) = self.buffer.take_if(|buffer| buffer.held().is_empty()) {
            buffer.put_back();
        }
        self.shared.take_if(|shared| shared.held().is_empty());
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.held == 0) {
            pipe.put_back();
        }
    }

    /// Writes the buffer, or the shared memory, to the sink with write(2), or through its TLS.
    pub(crate) fn write<K: Sys>(&mut self, sys: &K, sink: Port<'_>) -> Result<u64, CallError> {
        let (held, given) = match (&mut self.buffer, &mut self.shared) {
            (Some(buffer), _) => (&buffer.bytes[buffer.given..buffer.end], &mut buffer.given),
            (None, Some(shared)) => (&shared.bytes[shared.given..], &mut shared.given),
            (None, None) => return Ok(0),
        };
        let count = sink.wire.write(sys, sink.fd, held)?;
        *given += count;
        self.tidy();
        Ok(some(count)?)
    }

    /// Moves the pipe's bytes to the sink with splice(2); `None` if the kernel refuses that.
    pub(crate) fn splice<K: Sys>(
        &mut self,
        sys: &K,
        sink: BorrowedFd<'_>,
    ) -> Result<Option<u64>, Errno> {
        let Some(pipe) = &mut self.pipe else {
            return Ok(Some(0));
        };
        let from = pipe.read_end.as_fd();
        // Without `SPLICE_F_MORE`: the next byte may take long, and the sink must not wait for it
        // (pitfall 11).
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

    /// Reads the pipe's bytes into a buffer, for when splice(2) is refused after the pipe was
    /// filled.
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
            // The pipe is known to hold bytes, so this is a kernel error.
            Ok(0) | Err(Errno::AGAIN) => Err(Errno::IO),
            read => read.map(|_| ()),
        }
    }

    /// Discards everything. The buffer can be reused, since it is overwritten; a pipe that still
    /// holds bytes is closed (pitfall 13).
    pub(crate) fn let_go(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            buffer.put_back();
        }
        self.shared = None;
        if let Some(pipe) = self.pipe.take() {
            pipe.put_back();
        }
    }
}

/// Takes a pipe that is large enough to be worth splicing through; `None` if limits allow none.
pub(crate) fn pipe<K: Sys>(sys: &K) -> Result<Option<Pipe>, Errno> {
    match Pipe::take(sys) {
        Ok(pipe) if pipe.capacity >= LEAST_PIPE => Ok(Some(pipe)),
        // A pipe that is too small is closed, not pooled: nobody else can use it either.
        Ok(_) => Ok(None),
        Err(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Turns a count of 0 into an error. write(2) and splice(2) never return 0 for bytes that are
/// there; if one did, the caller would loop forever.
pub(crate) fn some(count: usize) -> Result<u64, Errno> {
    if count == 0 {
        Err(Errno::IO)
    } else {
        Ok(count as u64)
    }
}

/// `SPLICE_F_NONBLOCK` applies to the pipe only; sockets need `O_NONBLOCK` (pitfall 10).
pub(crate) const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

/// Whether the error means that splice(2) does not work between these sockets, so that copying may.
/// A socket that is not ready or gone is not such an error.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    errno != Errno::AGAIN && on_errno(errno, Route::Splice) == OnErrno::NextRoute
}
