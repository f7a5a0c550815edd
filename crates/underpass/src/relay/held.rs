//! Bytes in flight: taken from the one socket, not yet given to the other. A direction without any has neither a buffer
//! nor a pipe, so that connections which say nothing cost nothing here.

use std::cell::RefCell;

use rustix::io::Errno;

use crate::route::Route;
use crate::route::pipe::Pipe;
use crate::sys::Sys;
use crate::transfer::verdict::{self, Verdict};

/// What is copied at once.
pub(crate) const BUFFER: usize = 16 << 10;

/// Idle buffers that a thread keeps: 1 MiB.
const POOLED: usize = 64;

/// A pipe that holds less than this is not worth its calls: past `pipe-user-pages-soft` a new one holds two pages (pipe(7)).
const LEAST_PIPE: usize = 64 << 10;

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes in a buffer.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    given: usize,
    end: usize,
}

impl Buffer {
    /// An empty one, from this thread's pool if it has any.
    pub(crate) fn take() -> Self {
        let pooled = BUFFERS.with_borrow_mut(Vec::pop);
        Self {
            bytes: pooled.unwrap_or_else(|| vec![0; BUFFER].into_boxed_slice()),
            given: 0,
            end: 0,
        }
    }

    pub(crate) fn put_back(self) {
        BUFFERS.with_borrow_mut(|pool| {
            if pool.len() < POOLED {
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

    pub(crate) fn gave(&mut self, count: usize) {
        self.given += count;
    }
}

/// What one direction holds. Bytes in the buffer go before those in the pipe.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) buffer: Option<Buffer>,
    pub(crate) pipe: Option<Pipe>,
}

impl Held {
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

    /// Lets go of everything: a buffer is clean for the next by being overwritten, a pipe with bytes in it is closed
    /// (pitfall 13).
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

/// The call is not to be had between these sockets, and copying may serve; an end that is not ready or gone is another matter.
pub(crate) fn is_refusal(errno: Errno) -> bool {
    errno != Errno::AGAIN && verdict::of(errno, Route::Splice) == Verdict::NextRoute
}
