//! What the drivers need of what they drive: a transfer, or a sequence of transfers.

use std::time::Duration;

use rustix::event::PollFd;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::Input;
use super::error::{Cause, Error};
#[cfg(feature = "tokio")]
use super::machine::FileRange;
use super::machine::Machine;
use super::settings::TransferSettings;
use crate::step::Step;
use crate::sys::Sys;

/// Something that moves bytes step by step.
pub(super) trait Driven {
    /// Moves at most the budget, or returns what to wait for.
    fn step(&mut self) -> Result<Step, Error>;

    /// Ends it with an error.
    fn fail(&mut self, cause: Cause) -> Error;

    fn awaited(&self) -> Awaited<'_>;

    /// poll(2)
    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize, Errno>;

    /// The part of the source file that the next step may read; `None` if the sink is a file too.
    #[cfg(feature = "tokio")]
    fn reads_page_cache(&self) -> Option<FileRange<'_>>;

    /// Stops counting the thread's usage until the next step.
    #[cfg(feature = "tokio")]
    fn pause(&mut self);

    /// Another number says that another source has begun.
    fn turn(&self) -> u64;
}

/// What may be waited for. Only descriptors, so that a future with it is `Send`.
#[derive(Clone, Copy)]
pub(super) struct Awaited<'a> {
    /// `None` if the source is memory.
    pub(super) source: Option<BorrowedFd<'a>>,
    pub(super) sink: BorrowedFd<'a>,
    pub(super) cancel: Option<BorrowedFd<'a>>,
    pub(super) idle_timeout: Option<Duration>,
}

impl<'a> Awaited<'a> {
    pub(super) fn new(
        source: Option<BorrowedFd<'a>>,
        sink: BorrowedFd<'a>,
        settings: &'a TransferSettings<'_>,
    ) -> Self {
        Self {
            source,
            sink,
            cancel: settings.cancel.as_ref().map(AsFd::as_fd),
            idle_timeout: settings.idle_timeout,
        }
    }
}

impl<S: Input, D: AsFd, K: Sys> Driven for Machine<'_, S, D, K> {
    fn step(&mut self) -> Result<Step, Error> {
        Machine::step(self)
    }

    fn fail(&mut self, cause: Cause) -> Error {
        Machine::fail(self, cause)
    }

    fn awaited(&self) -> Awaited<'_> {
        Awaited::new(self.source_fd(), self.sink_fd(), self.settings())
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize, Errno> {
        self.sys().poll(fds, timeout)
    }

    #[cfg(feature = "tokio")]
    fn reads_page_cache(&self) -> Option<FileRange<'_>> {
        Machine::reads_page_cache(self)
    }

    #[cfg(feature = "tokio")]
    fn pause(&mut self) {
        Machine::pause(self);
    }

    fn turn(&self) -> u64 {
        0
    }
}
