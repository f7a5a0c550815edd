//! A sequence under way, stepped by hand or by a driver.

use std::fmt;

use rustix::fd::{AsFd, BorrowedFd};

use super::work::Work;
use super::{Error, Parts, Receipt};
use crate::step::Step;
use crate::sys::Kernel;
use crate::transfer::drive_poll;
use crate::transfer::driven::Driven;

/// A sequence under way, as [`Running`](crate::Running) is a transfer under way.
///
/// [`step`](Self::step) never waits for the sink, so a sequence can be driven by any event loop;
/// [`run`](Self::run) drives it with poll(2), and with the feature `tokio` `run_async` on that
/// runtime.
///
/// Dropping it ends the sequence; a socket blocks again if it did before. Bytes that were gathered
/// and not sent are lost.
///
/// ```
/// use std::io::{Read, pipe};
/// use underpass::{Part, Sequence, Step};
///
/// let (mut reader, sink) = pipe()?;
/// let mut running = Sequence::new([Part::memory(*b"part")].into_iter(), sink).start()?;
/// while running.step()? != Step::Done {}
/// assert_eq!(running.receipt().bytes, 4);
/// drop(running);
/// let mut got = String::new();
/// reader.read_to_string(&mut got)?;
/// assert_eq!(got, "part");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct RunningSequence<'a, P: Parts, D: AsFd> {
    pub(in crate::transfer) work: Work<'a, P, D, Kernel>,
}

impl<'a, P: Parts, D: AsFd> RunningSequence<'a, P, D> {
    pub(super) fn new(work: Work<'a, P, D, Kernel>) -> Self {
        Self { work }
    }

    /// Asks for one part, or moves at most the budget, without waiting. After [`Step::Done`] it
    /// returns that again.
    ///
    /// # Errors
    /// Whatever ends the sequence early; it cannot be resumed.
    pub fn step(&mut self) -> Result<Step, Error> {
        self.work.step()
    }

    /// Steps to the end, waiting with poll(2).
    ///
    /// # Errors
    /// As for [`Sequence::run`](crate::Sequence::run).
    pub fn run(mut self) -> Result<Receipt, Error> {
        drive_poll::drive(&mut self.work)?;
        Ok(self.receipt())
    }

    /// Bytes delivered so far.
    pub fn bytes(&self) -> u64 {
        self.work.bytes()
    }

    /// The receipt so far; complete once a step was [`Step::Done`].
    pub fn receipt(&self) -> Receipt {
        self.work.receipt()
    }

    /// The sink, to wait for [`Wait::Sink`](crate::Wait::Sink).
    pub fn sink_fd(&self) -> BorrowedFd<'_> {
        self.work.awaited().sink
    }

    /// The file of the current part, to wait for [`Wait::Source`](crate::Wait::Source); `None` if
    /// that is memory.
    pub fn source_fd(&self) -> Option<BorrowedFd<'_>> {
        self.work.awaited().source
    }
}

impl<P: Parts, D: AsFd> fmt::Debug for RunningSequence<'_, P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningSequence")
            .field("bytes", &self.bytes())
            .finish_non_exhaustive()
    }
}
