//! Forwards the bytes of one direction, from a source to a sink. Each step is one system call.
//!
//! It reads only when nothing is in flight. So an EAGAIN while filling comes from the source, and
//! one while draining from the sink (pitfall 10). A sink that does not read stops the source, and
//! after each call it is known where every byte is.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::DirectionCounts;
use crate::layer::CallError;
use crate::route::{Route, urgent};
use crate::step::Step;
use crate::step::Wait;
use crate::stream::in_flight::{self, FLAGS, InFlight, PooledBuffer, is_refusal};
use crate::stream::splice_policy::{Change, Mode, SplicePolicy};
use crate::sys::{Sys, tcp};
use crate::wire::{Port, Stop};

#[derive(Debug)]
pub(super) struct Forwarder {
    policy: SplicePolicy,
    held: InFlight,
    state: State,
    /// Bytes that the sink's TLS took and could not send yet.
    unsent: u64,
    pub(super) carried: DirectionCounts,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Going,
    /// The source has ended, and everything it sent is with the sink; the end is still to be passed
    /// on.
    Ended,
    Over,
}

/// What the next call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It reads from the source.
    Fill,
    /// It writes to the sink.
    Drain,
    /// It passes the end on to the sink.
    End,
    Nothing,
}

/// The side that a call found gone, and its error.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gone {
    Source(CallError),
    Sink(CallError),
}

impl Forwarder {
    /// `in_process`: TLS in this process lies on one of the two sockets, so that the bytes have to
    /// pass through its memory.
    pub(super) fn new(route: Option<Route>, in_process: bool) -> Self {
        let mut forwarder = Self {
            policy: SplicePolicy::new(route),
            held: InFlight::default(),
            state: State::Going,
            unsent: 0,
            carried: DirectionCounts::default(),
        };
        if in_process {
            forwarder.policy.refuse();
            forwarder.carried.splice_refused = route == Some(Route::Splice);
        }
        forwarder
    }

    pub(super) fn next(&self) -> Next {
        match self.state {
            State::Going | State::Ended if self.held.route().is_some() || self.unsent > 0 => {
                Next::Drain
            }
            State::Going => Next::Fill,
            State::Ended => Next::End,
            State::Over => Next::Nothing,
        }
    }

    /// Bytes read and not yet written.
    pub(super) fn in_flight(&self) -> u64 {
        self.held.bytes() + self.unsent
    }

    /// Makes the next call.
    pub(super) fn step<K: Sys>(
        &mut self,
        sys: &K,
        source: Port<'_>,
        sink: Port<'_>,
    ) -> Result<Step, Gone> {
        let did = match self.next() {
            Next::Fill => return self.fill(sys, source).map_err(Gone::Source),
            Next::Drain => self.drain(sys, sink),
            Next::End => self.end(sink),
            Next::Nothing => Ok(Step::Done),
        };
        match did {
            Err(CallError::Errno(Errno::AGAIN)) => Ok(Step::Blocked(Wait::Sink)),
            // Interrupted by a signal: make the same call again (pitfall 15).
            Err(CallError::Errno(Errno::INTR)) => Ok(Step::Moved(0)),
            did => did.map_err(|error| Gone::Sink(last_words(sys, sink, error))),
        }
    }

    /// Ends the direction. Bytes in flight are lost, and counted as undelivered.
    pub(super) fn abandon(&mut self) {
        self.carried.undelivered += self.held.bytes() + self.unsent;
        self.unsent = 0;
        self.held.let_go();
        self.state = State::Over;
    }

    /// Records how many of the bytes sent are not acknowledged.
    pub(super) fn count_unacknowledged(&mut self, sink: BorrowedFd<'_>) {
        let bytes = tcp::unacknowledged(sink).unwrap_or(0);
        // TCP counts the end (FIN) as one byte.
        let bytes = bytes.saturating_sub(u64::from(self.carried.ended));
        self.carried.unacknowledged = bytes.min(self.carried.bytes());
    }

    fn fill<K: Sys>(&mut self, sys: &K, source: Port<'_>) -> Result<Step, CallError> {
        match self.policy.mode() {
            Mode::Copying => self.read_in(sys, source),
            Mode::Splicing => self.splice_in(sys, source),
        }
    }

    fn read_in<K: Sys>(&mut self, sys: &K, source: Port<'_>) -> Result<Step, CallError> {
        let mut buffer = PooledBuffer::take(self.policy.room());
        self.carried.copy_calls += 1;
        let read = source.wire.read(sys, source.fd, buffer.room());
        buffer.filled(*read.as_ref().unwrap_or(&0));
        self.held.buffer = Some(buffer);
        self.took(read)
    }

    fn splice_in<K: Sys>(&mut self, sys: &K, source: Port<'_>) -> Result<Step, CallError> {
        let Some(pipe) = in_flight::pipe(sys)? else {
            self.carried.pipes_refused += 1;
            self.policy.without_pipe();
            return Ok(Step::Moved(0));
        };
        self.carried.splice_calls += 1;
        let pipe = self.held.pipe.insert(pipe);
        let into = pipe.write_end.as_fd();
        let spliced = sys.splice(source.fd, None, into, None, pipe.capacity, FLAGS);
        pipe.held = *spliced.as_ref().unwrap_or(&0) as u64;
        match source.wire.stopped(sys, source.fd, spliced) {
            Ok(Stop::Other) => {}
            Ok(Stop::Control) => {
                self.held.tidy();
                return Ok(Step::Moved(0));
            }
            Ok(Stop::End) => return self.took(Ok(0)),
            Err(error) => return self.took(Err(error)),
        }
        if source.wire.is_plain() && urgent::stopped(sys, source.fd, spliced) {
            self.held.tidy();
            return self.read_in(sys, source);
        }
        match spliced {
            Err(errno) if is_refusal(errno) => Ok(self.refused()),
            spliced => self.took(spliced.map_err(CallError::from)),
        }
    }

    /// Records what a call read from the source.
    fn took(&mut self, taken: Result<usize, CallError>) -> Result<Step, CallError> {
        self.held.tidy();
        let change = match taken {
            // A short count is not the end (pitfall 12); only 0 is, with TLS the peer's
            // close_notify.
            Ok(0) => {
                self.state = State::Ended;
                return Ok(Step::Moved(0));
            }
            Ok(count) => self.policy.took(count as u64),
            Err(CallError::Errno(Errno::AGAIN)) => return Ok(Step::Blocked(Wait::Source)),
            // Interrupted by a signal: make the same call again (pitfall 15).
            Err(CallError::Errno(Errno::INTR)) => return Ok(Step::Moved(0)),
            Err(error) => return Err(error),
        };
        match change {
            Some(Change::Promoted) => self.carried.promotions += 1,
            Some(Change::Demoted) => self.carried.demotions += 1,
            None => {}
        }
        Ok(Step::Moved(0))
    }

    fn drain<K: Sys>(&mut self, sys: &K, sink: Port<'_>) -> Result<Step, CallError> {
        if self.held.buffer.is_some() {
            self.carried.copy_calls += 1;
            let written = self.held.write(sys, sink);
            self.count_sent(sink, *written.as_ref().unwrap_or(&0));
            return Ok(Step::Moved(written?));
        }
        if self.held.route().is_none() {
            self.carried.copy_calls += 1;
            let flushed = sink.wire.flush(sys, sink.fd);
            self.count_sent(sink, 0);
            return flushed.map(|()| Step::Moved(0));
        }
        if self.policy.is_refused() {
            self.carried.copy_calls += 1;
            self.held.read_out(sys)?;
            return Ok(Step::Moved(0));
        }
        self.carried.splice_calls += 1;
        let spliced = self.held.splice(sys, sink.fd);
        if spliced == Err(Errno::AGAIN) {
            sink.wire.sent(sys, sink.fd, 0)?;
        }
        let Some(given) = spliced? else {
            return Ok(self.refused());
        };
        self.carried.spliced += given;
        sink.wire.sent(sys, sink.fd, given)?;
        Ok(Step::Moved(given))
    }

    /// Counts what has left this process, of the bytes that were unsent and those that were written
    /// now: TLS in this process keeps records that the socket has no room for.
    fn count_sent(&mut self, sink: Port<'_>, written: u64) {
        let unsent = sink.wire.unsent();
        self.carried.copied += (self.unsent + written).saturating_sub(unsent);
        self.unsent = unsent;
    }

    fn refused(&mut self) -> Step {
        self.held.tidy();
        self.carried.splice_refused = true;
        self.policy.refuse();
        Step::Moved(0)
    }

    /// Passes the end on, with TLS by close_notify first.
    fn end(&mut self, sink: Port<'_>) -> Result<Step, CallError> {
        sink.wire.close(sink.fd)?;
        self.state = State::Over;
        rustix::net::shutdown(sink.fd, Shutdown::Write)?;
        self.carried.ended = true;
        Ok(Step::Done)
    }
}

/// The peer's alert, if it is gone and has sent one.
fn last_words<K: Sys>(sys: &K, sink: Port<'_>, error: CallError) -> CallError {
    match error {
        CallError::Errno(Errno::PIPE | Errno::CONNRESET) => {
            let said = sink.wire.last_words(sys, sink.fd, |_| {});
            said.map_or(error, CallError::Layer)
        }
        _ => error,
    }
}
