//! A transfer under way, stepped by hand or by a driver.

use std::fmt;

use rustix::fd::{AsFd, BorrowedFd};

use super::Input;
use super::machine::Machine;
use crate::plan::Plan;
use crate::receipt::Receipt;
use crate::step::Step;
use crate::sys::Kernel;
use crate::transfer::error::Error;

/// A transfer under way.
///
/// [`step`](Self::step) never waits, so a transfer can be driven by any event loop;
/// [`run`](Self::run) drives it with poll(2), and with the feature `tokio` `run_async` on that
/// runtime.
///
/// Dropping it ends the transfer: positions and flags of the descriptors are restored, and bytes
/// that were read from a stream and not delivered ([`Receipt::undelivered`]) are lost.
///
/// ```
/// use std::io::{Read, Write, pipe};
/// use underpass::{Step, Transfer, Wait};
///
/// let (source, mut writer) = pipe()?;
/// let (mut reader, sink) = pipe()?;
/// let mut running = Transfer::new(source, sink).start()?;
/// assert_eq!(running.step()?, Step::Blocked(Wait::Source));
/// writer.write_all(b"now")?;
/// assert_eq!(running.step()?, Step::Moved(3));
/// drop(writer);
/// assert_eq!(running.step()?, Step::Done);
/// assert!(running.receipt().complete);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Running<'a, S: Input, D: AsFd> {
    pub(super) machine: Machine<'a, S, D, Kernel>,
    pub(super) done: bool,
}

impl<'a, S: Input, D: AsFd> Running<'a, S, D> {
    pub(super) fn new(machine: Machine<'a, S, D, Kernel>) -> Self {
        let done = false;
        Self { machine, done }
    }

    /// Moves at most the budget, without waiting. After [`Step::Done`] it returns that again.
    ///
    /// # Errors
    /// Whatever ends the transfer early; it cannot be resumed.
    pub fn step(&mut self) -> Result<Step, Error> {
        if self.done {
            return Ok(Step::Done);
        }
        let step = self.machine.step()?;
        self.done = step == Step::Done;
        Ok(step)
    }

    /// Steps to the end, waiting with poll(2).
    ///
    /// # Errors
    /// As for [`Transfer::run`](crate::Transfer::run).
    pub fn run(mut self) -> Result<Receipt, Error> {
        if !self.done {
            super::drive_poll::drive(&mut self.machine)?;
            self.done = true;
        }
        Ok(self.receipt())
    }

    /// Bytes delivered so far.
    pub fn bytes(&self) -> u64 {
        self.machine.bytes()
    }

    /// The plan it follows.
    pub fn plan(&self) -> &Plan {
        self.machine.plan()
    }

    /// The receipt so far; complete once a step was [`Step::Done`].
    pub fn receipt(&self) -> Receipt {
        self.machine.receipt(self.done)
    }

    /// The sink, to wait for [`Wait::Sink`](crate::Wait::Sink) and
    /// [`Wait::Release`](crate::Wait::Release).
    pub fn sink_fd(&self) -> BorrowedFd<'_> {
        self.machine.sink_fd()
    }

    /// The source, to wait for [`Wait::Source`](crate::Wait::Source); `None` for memory, which is
    /// never waited for.
    pub fn source_fd(&self) -> Option<BorrowedFd<'_>> {
        self.machine.source_fd()
    }
}

impl<S: Input, D: AsFd> fmt::Debug for Running<'_, S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("plan", self.plan())
            .field("bytes", &self.bytes())
            .field("done", &self.done)
            .finish()
    }
}
