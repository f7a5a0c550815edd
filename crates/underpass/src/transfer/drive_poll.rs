//! The synchronous driver: makes steps, and calls poll(2) when one would have to wait.

use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use super::driven::Driven;
use crate::step::{Step, Wait};
use crate::transfer::error::{Cause, Error};

/// Steps `machine` until it is done.
pub(super) fn drive(machine: &mut impl Driven) -> Result<(), Error> {
    let mut moved = Instant::now();
    let mut turn = machine.turn();
    loop {
        let step = machine.step()?;
        if turn != machine.turn() {
            turn = machine.turn();
            moved = Instant::now();
        }
        match step {
            Step::Done => return Ok(()),
            Step::Moved(0) => {}
            Step::Moved(_) => moved = Instant::now(),
            Step::Blocked(wait) => {
                if let Err(cause) = wait_for(machine, wait, moved) {
                    return Err(machine.fail(cause));
                }
            }
        }
    }
}

/// Waits until `wait` has come, the sink is gone, the transfer is cancelled, or it has been idle
/// too long.
fn wait_for(machine: &impl Driven, wait: Wait, moved: Instant) -> Result<(), Cause> {
    let ends = machine.awaited();
    let sink = ends.sink;
    let (awaited, events) = match (wait, ends.source) {
        (Wait::Source, Some(source)) => (source, PollFlags::IN),
        (Wait::Release, _) => (sink, PollFlags::empty()),
        _ => (sink, PollFlags::OUT),
    };
    // Watch the sink too, so that a reader that goes away is noticed before the source sends again.
    let mut fds = vec![PollFd::from_borrowed_fd(awaited, events)];
    if wait == Wait::Source {
        fds.push(PollFd::from_borrowed_fd(sink, PollFlags::empty()));
    }
    if let Some(cancel) = ends.cancel {
        fds.push(PollFd::from_borrowed_fd(cancel, PollFlags::IN));
    }
    let limit = ends.idle_timeout;
    loop {
        let left = limit.map(|limit| limit.saturating_sub(moved.elapsed()));
        match machine.poll(&mut fds, left) {
            Ok(0) => return Err(Cause::TimedOut(limit.unwrap_or_default())),
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(Cause::Call {
                    what: "poll",
                    errno,
                });
            }
        }
    }
    let silent = wait == Wait::Source && fds[0].revents().is_empty();
    if silent && fds[1].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
        return Err(Cause::SinkGone(socket_error(sink)));
    }
    Ok(())
}

/// The socket's pending error; EPIPE if there is none.
pub(super) fn socket_error(fd: BorrowedFd<'_>) -> Errno {
    match rustix::net::sockopt::socket_error(fd) {
        Ok(Err(errno)) => errno,
        _ => Errno::PIPE,
    }
}
