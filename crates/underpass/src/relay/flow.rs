//! One direction: bytes of a source to a sink, one system call a step.
//!
//! It takes bytes only when it holds none. So an EAGAIN while filling is the source's and one while draining the sink's
//! (pitfall 10), a sink that does not read is felt by the source, and after each call it is known where every byte lies.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::Shutdown;
use rustix::pipe::SpliceFlags;

use super::Carried;
use super::held::{self, BUFFER, Buffer, Held, is_refusal};
use super::rule::{Change, Lane, Rule};
use crate::route::{Route, Wait};
use crate::sys::Sys;
use crate::transfer::Step;

#[derive(Debug)]
pub(super) struct Flow {
    rule: Rule,
    held: Held,
    state: State,
    pub(super) carried: Carried,
}

/// How far a direction has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Going,
    /// The source has ended, and all that it sent is given; the sink is to be told.
    Ended,
    Over,
}

/// What the next call is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It takes bytes from the source.
    Fill,
    /// It gives bytes to the sink.
    Drain,
    /// It tells the sink that no more come.
    End,
    Nothing,
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    /// Something that leads on, and gave the sink so many bytes.
    Moved(u64),
    /// Nothing, for this end is not ready.
    Blocked(Wait),
    /// The sink knows that no more will come.
    Ended,
}

impl From<Step> for Did {
    fn from(step: Step) -> Self {
        match step {
            Step::Moved(bytes) => Self::Moved(bytes),
            Step::Blocked(wait) => Self::Blocked(wait),
            Step::Done => Self::Ended,
        }
    }
}

/// A call that found its end gone.
#[derive(Clone, Copy, Debug)]
pub(super) enum Gone {
    Source(Errno),
    Sink(Errno),
}

impl Flow {
    pub(super) fn new(route: Option<Route>) -> Self {
        Self {
            rule: Rule::new(route),
            held: Held::default(),
            state: State::Going,
            carried: Carried::default(),
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

    /// Bytes taken and not yet given.
    pub(super) fn in_flight(&self) -> u64 {
        self.held.bytes()
    }

    /// Makes the next call.
    pub(super) fn step<K: Sys>(
        &mut self,
        sys: &K,
        source: BorrowedFd<'_>,
        sink: BorrowedFd<'_>,
    ) -> Result<Did, Gone> {
        match self.next() {
            Next::Fill => self.fill(sys, source).map_err(Gone::Source),
            Next::Drain => self.drain(sys, sink).map_err(Gone::Sink),
            Next::End => self.end(sink).map_err(Gone::Sink),
            Next::Nothing => Ok(Did::Ended),
        }
    }

    /// Carries nothing any more; what it holds is lost, and counted.
    pub(super) fn abandon(&mut self) {
        self.carried.undelivered += self.held.bytes();
        self.held.let_go();
        self.state = State::Over;
    }

    fn fill<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Did, Errno> {
        match self.rule.lane() {
            Lane::Copying => self.read_in(sys, source),
            Lane::Splicing => self.splice_in(sys, source),
        }
    }

    fn read_in<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Did, Errno> {
        let mut buffer = Buffer::take();
        self.carried.copy_calls += 1;
        let read = sys.read(source, buffer.room());
        buffer.filled(*read.as_ref().unwrap_or(&0));
        self.held.buffer = Some(buffer);
        self.took(read)
    }

    fn splice_in<K: Sys>(&mut self, sys: &K, source: BorrowedFd<'_>) -> Result<Did, Errno> {
        let Some(pipe) = held::pipe(sys)? else {
            self.carried.pipes_refused += 1;
            self.rule.without_pipe();
            return Ok(Did::Moved(0));
        };
        self.carried.splice_calls += 1;
        let pipe = self.held.pipe.insert(pipe);
        let into = pipe.write_end.as_fd();
        let spliced = sys.splice(source, None, into, None, pipe.capacity, FLAGS);
        pipe.held = *spliced.as_ref().unwrap_or(&0) as u64;
        match spliced {
            Err(errno) if is_refusal(errno) => Ok(self.refused()),
            spliced => self.took(spliced),
        }
    }

    /// What a call took from the source is held by now.
    fn took(&mut self, taken: Result<usize, Errno>) -> Result<Did, Errno> {
        self.held.tidy();
        let change = match taken {
            // A short count is no end (pitfall 12): only 0 is.
            Ok(0) => {
                self.state = State::Ended;
                return Ok(Did::Moved(0));
            }
            Ok(count) => self.rule.took(count as u64, count == BUFFER),
            Err(Errno::AGAIN) => return Ok(Did::Blocked(Wait::Source)),
            // A signal came between: the same call again (pitfall 15).
            Err(Errno::INTR) => return Ok(Did::Moved(0)),
            Err(errno) => return Err(errno),
        };
        match change {
            Some(Change::Promoted) => self.carried.promotions += 1,
            Some(Change::Demoted) => self.carried.demotions += 1,
            None => {}
        }
        Ok(Did::Moved(0))
    }

    fn drain<K: Sys>(&mut self, sys: &K, sink: BorrowedFd<'_>) -> Result<Did, Errno> {
        match &mut self.held {
            Held {
                buffer: Some(buffer),
                ..
            } => {
                self.carried.copy_calls += 1;
                let given = sys.write(sink, buffer.held());
                buffer.gave(*given.as_ref().unwrap_or(&0));
                self.gave(Route::ReadWrite, given)
            }
            Held {
                pipe: Some(pipe), ..
            } if !self.rule.is_refused() => {
                self.carried.splice_calls += 1;
                let from = pipe.read_end.as_fd();
                // The next byte may be long in coming, so the sink is never told of more (pitfall 11).
                let given = sys.splice(from, None, sink, None, pipe.held as usize, FLAGS);
                pipe.held -= *given.as_ref().unwrap_or(&0) as u64;
                match given {
                    Err(errno) if is_refusal(errno) => Ok(self.refused()),
                    given => self.gave(Route::Splice, given),
                }
            }
            _ => self.read_out(sys),
        }
    }

    /// splice(2) refuses in the middle: what lies in the pipe goes on through a buffer.
    fn read_out<K: Sys>(&mut self, sys: &K) -> Result<Did, Errno> {
        let Some(pipe) = &mut self.held.pipe else {
            return Ok(Did::Moved(0));
        };
        let mut buffer = Buffer::take();
        self.carried.copy_calls += 1;
        let read = sys.read(pipe.read_end.as_fd(), buffer.room());
        let count = *read.as_ref().unwrap_or(&0);
        pipe.held -= count as u64;
        buffer.filled(count);
        self.held.buffer = Some(buffer);
        self.held.tidy();
        match read {
            // Bytes that are known to be there cannot be had.
            Ok(0) | Err(Errno::AGAIN) => Err(Errno::IO),
            Ok(_) | Err(Errno::INTR) => Ok(Did::Moved(0)),
            Err(errno) => Err(errno),
        }
    }

    /// What a call gave to the sink is held no more.
    fn gave(&mut self, route: Route, given: Result<usize, Errno>) -> Result<Did, Errno> {
        self.held.tidy();
        match given {
            // Neither call takes none of the bytes there are without saying why; a sink that did would be asked for ever.
            Ok(0) => Err(Errno::IO),
            Ok(count) => {
                let count = count as u64;
                match route {
                    Route::Splice => self.carried.spliced += count,
                    _ => self.carried.copied += count,
                }
                Ok(Did::Moved(count))
            }
            Err(Errno::AGAIN) => Ok(Did::Blocked(Wait::Sink)),
            Err(Errno::INTR) => Ok(Did::Moved(0)),
            Err(errno) => Err(errno),
        }
    }

    fn refused(&mut self) -> Did {
        self.held.tidy();
        self.carried.splice_refused = true;
        self.rule.refuse();
        Did::Moved(0)
    }

    fn end(&mut self, sink: BorrowedFd<'_>) -> Result<Did, Errno> {
        self.state = State::Over;
        rustix::net::shutdown(sink, Shutdown::Write)?;
        self.carried.ended = true;
        Ok(Did::Ended)
    }
}

/// The pipe's side; the sockets have their own flag (pitfall 10).
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);
