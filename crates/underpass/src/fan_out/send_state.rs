//! Send state of one subscriber. Each step is one system call.
//!
//! It takes the next segment only when nothing is in flight, so an EAGAIN always comes from the
//! socket (pitfall 10). A segment in a pipe is taken whole, by tee(2) into an empty pipe that is at
//! least as large, so that tee(2) cannot stop short (pitfall 14).

use std::sync::Arc;
#[cfg(feature = "tokio")]
use std::task::Waker;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::pipe::SpliceFlags;

use super::ring::{Finish, Next};
use super::segment::{Segment, Store};
use super::{Shared, SubscriberCounts, SubscriberEnd};
use crate::layer::CallError;
use crate::route::Route;
use crate::route::pipe::Pipe;
use crate::step::Step;
use crate::step::Wait;
use crate::stream::error::PeerError;
use crate::stream::in_flight::{self, InFlight, SharedMemory, some};
use crate::sys::{Sys, tcp};
use crate::wire::{Port, Wire};

#[derive(Debug)]
pub(super) struct SendState {
    shared: Arc<Shared>,
    id: u64,
    /// What lies on its socket.
    wire: Wire,
    held: InFlight,
    /// Bytes that its TLS took and could not send yet.
    unsent: u64,
    pub(super) given: SubscriberCounts,
    pub(super) ended: Option<SubscriberEnd>,
    /// The end was passed on to its socket, by shutdown(2).
    told_end: bool,
}

/// What a subscriber can do next.
#[cfg(feature = "tokio")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ready {
    /// Write bytes to the socket, when the socket takes some.
    Give,
    /// Pass the end on to the socket.
    Finish,
    /// Wait: there is nothing for it.
    Wait,
    Over,
}

impl SendState {
    pub(super) fn new(shared: Arc<Shared>, wire: Wire) -> Self {
        let mut ring = shared.ring();
        let (id, from) = (ring.join(wire.is_user()), ring.end());
        drop(ring);
        shared.stats.joined.add(1);
        Self {
            shared,
            id,
            wire,
            held: InFlight::default(),
            unsent: 0,
            given: SubscriberCounts {
                from,
                ..SubscriberCounts::default()
            },
            ended: None,
            told_end: false,
        }
    }

    /// Registers to be woken when there is more data for it, or when it has fallen too far behind.
    /// Returns what can be done now.
    #[cfg(feature = "tokio")]
    pub(super) fn register(&mut self, waker: &Waker) -> Ready {
        if self.ended.is_some() {
            return Ready::Over;
        }
        let holds = self.held.route().is_some() || self.unsent > 0;
        let shared = Arc::clone(&self.shared);
        let mut ring = shared.ring();
        ring.register(self.id, waker);
        match ring.next(self.id) {
            Next::Lagged => {
                drop(ring);
                self.end(SubscriberEnd::Lagged);
                Ready::Over
            }
            Next::Nothing if !holds => Ready::Wait,
            Next::Finished(_) if !holds => Ready::Finish,
            _ => Ready::Give,
        }
    }

    pub(super) fn step<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Step {
        if self.ended.is_some() {
            return Step::Done;
        }
        let did = if self.held.route().is_some() {
            self.drain(sys, sink)
        } else if self.unsent > 0 {
            self.flush(sys, sink)
        } else {
            self.take(sys, sink)
        };
        match did {
            Ok(step) => step,
            Err(error) if error.would_block() && self.shared.ring().is_lagged(self.id) => {
                self.end(SubscriberEnd::Lagged)
            }
            Err(error) if error.would_block() => Step::Blocked(Wait::Sink),
            // Interrupted by a signal: make the same call again (pitfall 15).
            Err(CallError::Errno(Errno::INTR)) => Step::Moved(0),
            Err(error) => {
                let error = PeerError::new(error);
                self.end(SubscriberEnd::Gone { error })
            }
        }
    }

    /// What lies on its socket.
    #[cfg(feature = "tokio")]
    pub(super) fn wire(&self) -> &Wire {
        &self.wire
    }

    /// Whether its connection is to be closed in an orderly way, not by a reset.
    pub(super) fn ends_cleanly(&self) -> bool {
        match self.ended {
            Some(SubscriberEnd::Closed) => true,
            Some(SubscriberEnd::SourceDied) => self.shared.settings.clean_end,
            _ => false,
        }
    }

    /// Ends the subscription. Only the first call counts.
    pub(super) fn end(&mut self, how: SubscriberEnd) -> Step {
        if self.ended.is_none() {
            self.ended = Some(how);
            let left = self.shared.ring().leave(self.id) + self.held.bytes();
            self.given.undelivered = left + self.unsent;
            self.unsent = 0;
            self.held.let_go();
        }
        Step::Done
    }

    /// Records how many of the bytes sent are not acknowledged.
    pub(super) fn count_unacknowledged(&mut self, sink: BorrowedFd<'_>) {
        // TCP counts the end (FIN) as one byte.
        let bytes = tcp::unacknowledged(sink).unwrap_or(0);
        let bytes = bytes.saturating_sub(u64::from(self.told_end));
        self.given.unacknowledged = bytes.min(self.given.bytes());
    }

    fn take<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<Step, CallError> {
        let shared = Arc::clone(&self.shared);
        let mut ring = shared.ring();
        if !self.wire.is_user()
            && let Some(segment) = ring.take_unshared(self.id)
        {
            self.held.pipe = Some(segment.into_pipe().ok_or(Errno::IO)?);
            return Ok(Step::Moved(0));
        }
        match ring.next(self.id) {
            Next::Nothing => Ok(Step::Blocked(Wait::Source)),
            Next::Lagged => {
                drop(ring);
                Ok(self.end(SubscriberEnd::Lagged))
            }
            Next::Finished(finish) => {
                drop(ring);
                self.finish(finish, sink)
            }
            Next::Segment(segment, taken) => {
                let (took, gave) = self.take_of(segment, taken, sys, sink)?;
                ring.advance(self.id, took);
                Ok(Step::Moved(gave))
            }
        }
    }

    /// Takes bytes of a segment. Returns how many were taken, and how many of them were sent
    /// already.
    fn take_of<K: Sys>(
        &mut self,
        segment: &mut Segment,
        taken: usize,
        sys: &K,
        sink: BorrowedFd<'_>,
    ) -> Result<(u64, u64), CallError> {
        match segment.store() {
            // It is encrypted later, without the lock.
            Store::Memory(bytes) if self.wire.is_user() => {
                let count = (bytes.len() - taken) as u64;
                self.held.shared = Some(SharedMemory::from(Arc::clone(bytes), taken));
                Ok((count, 0))
            }
            Store::Memory(bytes) => {
                self.given.copy_calls += 1;
                let count = some(self.wire.write(sys, sink, &bytes[taken..])?)?;
                self.count_sent(count);
                Ok((count, count))
            }
            Store::Piped(_) if self.wire.is_user() => {
                self.given.copy_calls += segment.read_out(sys)?;
                Ok((0, 0))
            }
            Store::Piped(pipe) if self.tee(sys, pipe, segment.len())? => Ok((segment.len(), 0)),
            Store::Piped(_) => {
                self.given.copy_calls += segment.read_out(sys)?;
                Ok((0, 0))
            }
        }
    }

    /// Copies references to a segment's bytes into a pipe of its own with tee(2). `false` if that
    /// is not possible.
    fn tee<K: Sys>(&mut self, sys: &K, segment: &Pipe, len: u64) -> Result<bool, Errno> {
        let Some(mut pipe) = in_flight::pipe(sys)?.filter(|pipe| pipe.capacity >= segment.capacity)
        else {
            self.given.pipes_refused += 1;
            self.shared.stats.pipes_refused.add(1);
            return Ok(false);
        };
        self.given.tee_calls += 1;
        let (from, into) = (segment.read_end.as_fd(), pipe.write_end.as_fd());
        let teed = sys.tee(from, into, len as usize, SpliceFlags::NONBLOCK);
        pipe.held = *teed.as_ref().unwrap_or(&0) as u64;
        if pipe.held == len {
            self.held.pipe = Some(pipe);
            return Ok(true);
        }
        // tee(2) always starts at the first byte, so a part is of no use. The pipe is closed with
        // what it holds.
        pipe.put_back();
        if teed == Err(Errno::INTR) {
            return Err(Errno::INTR);
        }
        self.given.splice_refused = true;
        Ok(false)
    }

    fn drain<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<Step, CallError> {
        if self.held.route() == Some(Route::ReadWrite) {
            self.given.copy_calls += 1;
            let written = self.held.write(sys, Port::new(sink, &self.wire));
            self.count_sent(*written.as_ref().unwrap_or(&0));
            return Ok(Step::Moved(written?));
        }
        if self.given.splice_refused {
            self.given.copy_calls += 1;
            self.held.read_out(sys)?;
            return Ok(Step::Moved(0));
        }
        self.given.splice_calls += 1;
        let spliced = self.held.splice(sys, sink);
        if spliced == Err(Errno::AGAIN) {
            self.wire.sent(sys, sink, 0)?;
        }
        let Some(count) = spliced? else {
            self.given.splice_refused = true;
            return Ok(Step::Moved(0));
        };
        self.given.spliced += count;
        self.shared.stats.given_spliced.add(count);
        self.wire.sent(sys, sink, count)?;
        Ok(Step::Moved(count))
    }

    fn flush<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<Step, CallError> {
        self.given.copy_calls += 1;
        let flushed = self.wire.flush(sys, sink);
        self.count_sent(0);
        flushed.map(|()| Step::Moved(0))
    }

    /// Counts what has left this process, of the bytes that were unsent and those that were written
    /// now: TLS in this process keeps records that the socket has no room for.
    fn count_sent(&mut self, written: u64) {
        let unsent = self.wire.unsent();
        let sent = (self.unsent + written).saturating_sub(unsent);
        self.unsent = unsent;
        self.given.copied += sent;
        self.shared.stats.given_copied.add(sent);
    }

    /// Sends it the end, with TLS by close_notify first.
    fn finish(&mut self, how: Finish, sink: BorrowedFd<'_>) -> Result<Step, CallError> {
        if how == Finish::Whole || self.shared.settings.clean_end {
            self.wire.close(sink)?;
            rustix::net::shutdown(sink, Shutdown::Write)?;
            self.told_end = true;
        }
        Ok(self.end(match how {
            Finish::Whole => SubscriberEnd::Closed,
            Finish::Part => SubscriberEnd::SourceDied,
        }))
    }
}

impl Drop for SendState {
    fn drop(&mut self) {
        self.end(SubscriberEnd::Cut);
        let how = self.ended.unwrap_or(SubscriberEnd::Cut);
        let missing = self.given.undelivered + self.given.unacknowledged;
        self.shared.stats.ended(how, missing);
    }
}
