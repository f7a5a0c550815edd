//! The ways to drive a transfer. Each waits exactly for what a step says to wait for. If that never
//! comes, the case hangs and fails.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags};

use crate::step::{Step, Wait};
use crate::sys::Sys;
use crate::transfer::drive_poll;
use crate::transfer::driven::Driven;
use crate::transfer::error::{Cause, Error};

/// A case in which no byte moves for this long has failed.
pub(super) const HANGS: Duration = Duration::from_secs(20);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// `Transfer::run`.
    Sync,
    /// A program's own loop around `Running::step`.
    ByHand,
    /// `Transfer::run_async`.
    #[cfg(feature = "tokio")]
    Tokio,
}

impl Driver {
    pub(super) const ALL: &[Self] = &[
        Self::Sync,
        Self::ByHand,
        #[cfg(feature = "tokio")]
        Self::Tokio,
    ];

    /// Whether it asks if an end is ready now, as poll(2) does.
    pub(super) fn asks(self) -> bool {
        matches!(self, Self::Sync | Self::ByHand)
    }

    /// Drives `machine`, whose idle timeout is [`HANGS`].
    pub(super) fn drive(self, machine: &mut impl Driven) -> Result<(), Error> {
        match self {
            Self::Sync => drive_poll::drive(machine),
            Self::ByHand => by_hand(machine),
            #[cfg(feature = "tokio")]
            Self::Tokio => runtime().block_on(crate::transfer::drive_tokio::drive(machine)),
        }
    }

    /// Opens the descriptors that the first use leaves open, before descriptors are counted. One is
    /// tokio's pipe for signals, which exists if another crate of the workspace enables that
    /// feature.
    pub(super) fn prepare_all() {
        #[cfg(feature = "tokio")]
        drop(runtime());
    }
}

#[cfg(feature = "tokio")]
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Waits for the event that a step names, as its documentation says, and for nothing else.
fn by_hand(machine: &mut impl Driven) -> Result<(), Error> {
    loop {
        let wait = match machine.step()? {
            Step::Done => return Ok(()),
            Step::Moved(_) => continue,
            Step::Blocked(wait) => wait,
        };
        let ends = machine.awaited();
        let (fd, events) = match wait {
            Wait::Source => (ends.source.unwrap(), PollFlags::IN),
            Wait::Sink => (ends.sink, PollFlags::OUT),
            Wait::Release => (ends.sink, PollFlags::ERR),
        };
        let mut fds = [PollFd::from_borrowed_fd(fd, events)];
        // This is the real poll(2): faults are for the calls of the transfer.
        let came = crate::sys::Kernel::default().poll(&mut fds, Some(HANGS));
        if came == Ok(0) {
            return Err(machine.fail(Cause::TimedOut(HANGS)));
        }
    }
}
