//! Waiting for descriptors, with timeouts. Signals end the waits.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use underpass::Cancel;

/// Waits until `fd` is readable. Fails with `TimedOut` after `timeout`, and with `Interrupted` when
/// cancelled.
pub(crate) fn wait_readable(
    fd: BorrowedFd<'_>,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<()> {
    wait(&[fd], PollFlags::IN, timeout, cancel)
}

/// Waits until one of `awaited` has an event.
pub(crate) fn wait(
    awaited: &[BorrowedFd<'_>],
    events: PollFlags,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut fds = vec![PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)];
    fds.extend(
        awaited
            .iter()
            .map(|fd| PollFd::from_borrowed_fd(*fd, events)),
    );
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if cancel.is_cancelled() => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
