//! Forwards the bytes of one direction, from a source to a sink. Each step is one system call.
//!
//! It reads only when nothing is in flight. So an EAGAIN while filling comes from the source, and
//! one while draining from the sink (pitfall 10). A sink that does not read stops the source, and
//! after each call it is known where every byte is.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::DirectionCounts;
use crate::route::{Route, urgent};
use crate::step::Step;
use crate::step::Wait;
use crate::stream::in_flight::{self, FLAGS, InFlight, PooledBuffer, is_refusal};
use crate::stream::splice_policy::{Change, Mode, SplicePolicy};
use crate::sys::{Sys, tcp};

#[derive(Debug)]
pub(super) struct Forwarder {
    policy: SplicePolicy,
    held: InFlight,
    state: State,
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
    Source(Errno),
    Sink(Errno),
}

impl Forwarder {
    pub(super) fn new(route: Option<Route>) -> Self {
        Self {
            policy: SplicePolicy::new(route),
            held: InFlight::default(),
            state: State::Going,
            carried: DirectionCounts::default(),
        }
    }

    pub(super) fn next(&self) -> Next {
        match self.state {
            State::Going if self.held.route().is_some() => Next::Drain,
            State::Going => Next::Fill,
            State::Ended => Next::End,
            State::Over => Next::Nothing,
        }
    }

    /// Bytes read and not yet written.
    pub(super) fn in_flight(&self) -> u64 {
        self.held.bytes()
    }

    /// Makes the next call.
    pub(super) fn step<K: Sys>(
        &mut self,
        sys: &K,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
    ) -> Result<Step, Gone> {
        match self.next() {
            Next::Fill => self.fill(sys, source).map_err(Gone::Source),
            Next::Drain => match self.drain(sys, sink) {
                Err(Errno::AGAIN) => Ok(Step::Blocked(Wait::Sink)),
                // Interrupted by a signal: make the same call again (pitfall 15).
                Err(Errno::INTR) => Ok(Step::Moved(0)),
                drained => drained.map_err(Gone::Sink),
            },
            Next::End => self.end(sink).map_err(Gone::Sink),
            Next::Nothing => Ok(Step::Done),
        }
    }

    /// Ends the direction. Bytes in flight are lost, and counted as undelivered.
    pub(super) fn abandon(&mut self) {
        self.carried.undelivered += self.held.bytes();
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

    fn fill<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Step, Errno> {
        match self.policy.mode() {
            Mode::Copying => self.read_in(sys, source),
            Mode::Splicing => self.splice_in(sys, source),
        }
    }

    fn read_in<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Step, Errno> {
        let mut buffer = PooledBuffer::take(self.policy.room());
        self.carried.copy_calls += 1;
        let read = sys.read(source, buffer.room());
        buffer.filled(*read.as_ref().unwrap_or(&0));
        self.held.buffer = Some(buffer);
        self.took(read)
    }

    fn splice_in<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Step, Errno> {
        let Some(pipe) = in_flight::pipe(sys)? else {
            self.carried.pipes_refused += 1;
            self.policy.without_pipe();
            return Ok(Step::Moved(0));
        };
        self.carried.splice_calls += 1;
        let pipe = self.held.pipe.insert(pipe);
        let into = pipe.write_end.as_fd();
        let spliced = sys.splice(source, None, into, None, pipe.capacity, FLAGS);
        pipe.held = *spliced.as_ref().unwrap_or(&0) as u64;
        if urgent::stopped(sys, source, spliced) {
            self.held.tidy();
            return self.read_in(sys, source);
        }
        match spliced {
            Err(errno) if is_refusal(errno) => Ok(self.refused()),
            spliced => self.took(spliced),
        }
    }

    /// Records what a call read from the source.
    fn took(&mut self, taken: Result<usize, Errno>) -> Result<Step, Errno> {
        self.held.tidy();
        let change = match taken {
            // A short count is not the end (pitfall 12); only 0 is.
            Ok(0) => {
                self.state = State::Ended;
                return Ok(Step::Moved(0));
            }
            Ok(count) => self.policy.took(count as u64),
            Err(Errno::AGAIN) => return Ok(Step::Blocked(Wait::Source)),
            // Interrupted by a signal: make the same call again (pitfall 15).
            Err(Errno::INTR) => return Ok(Step::Moved(0)),
            Err(errno) => return Err(errno),
        };
        match change {
            Some(Change::Promoted) => self.carried.promotions += 1,
            Some(Change::Demoted) => self.carried.demotions += 1,
            None => {}
        }
        Ok(Step::Moved(0))
    }

    fn drain<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<Step, Errno> {
        if self.held.buffer.is_some() {
            self.carried.copy_calls += 1;
            let given = self.held.write(sys, sink)?;
            self.carried.copied += given;
            return Ok(Step::Moved(given));
        }
        if self.policy.is_refused() {
            self.carried.copy_calls += 1;
            self.held.read_out(sys)?;
            return Ok(Step::Moved(0));
        }
        self.carried.splice_calls += 1;
        let Some(given) = self.held.splice(sys, sink)? else {
            return Ok(self.refused());
        };
        self.carried.spliced += given;
        Ok(Step::Moved(given))
    }

    fn refused(&mut self) -> Step {
        self.held.tidy();
        self.carried.splice_refused = true;
        self.policy.refuse();
        Step::Moved(0)
    }

    fn end(&mut self, sink: BorrowedFd<'_>) -> Result<Step, Errno> {
        self.state = State::Over;
        rustix::net::shutdown(sink, Shutdown::Write)?;
        self.carried.ended = true;
        Ok(Step::Done)
    }
}
