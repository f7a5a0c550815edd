//! Waits for a descriptor.

use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// Whether there is something to read within this time: a connection for a listener, the end of the
/// process for a pidfd. A signal ends the wait too.
pub(crate) fn readable(fd: impl AsFd, time: Duration) -> Result<bool> {
    let time = Timespec {
        tv_sec: time.as_secs().cast_signed(),
        tv_nsec: time.subsec_nanos().into(),
    };
    match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)) {
        Ok(count) => Ok(count > 0),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno).context(|| "cannot poll".into()),
    }
}
