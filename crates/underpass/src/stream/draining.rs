//! Whether a sink whose queue is full takes what it was given before: slowly is not never.

use std::time::Duration;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::time::{Instant, sleep};

use crate::sys::tcp;

/// poll(2) knows no event for an acknowledgement, so the kernel is asked again, soon at first.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// What was left in a sink's queue when it was last looked at.
#[derive(Debug, Default)]
pub(crate) struct Draining(Option<u64>);

impl Draining {
    /// Whether less is left than at the look before. The first look at a queue that holds something
    /// can only begin.
    pub(crate) fn look(&mut self, untaken: u64) -> bool {
        let before = self.0.replace(untaken);
        untaken > 0 && before.is_none_or(|before| untaken < before)
    }
}

/// Waits until all that a sink was given has arrived: a TCP peer has acknowledged it. What it says
/// is left unread. ETIMEDOUT when it takes nothing for as long as `idle_timeout`.
pub(crate) async fn arrived(
    sink: BorrowedFd<'_>,
    idle_timeout: Option<Duration>,
) -> Result<(), Errno> {
    let (mut before, mut since, mut pause) = (u64::MAX, Instant::now(), FIRST_PAUSE);
    loop {
        sockopt::socket_error(sink)??;
        let untaken = tcp::unacknowledged(sink)?;
        if untaken == 0 {
            return Ok(());
        }
        if untaken < before {
            (before, since, pause) = (untaken, Instant::now(), FIRST_PAUSE);
        } else if idle_timeout.is_some_and(|limit| since.elapsed() >= limit) {
            return Err(Errno::TIMEDOUT);
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_shrinks_is_taken_from_and_one_that_grows_or_stays_is_not() {
        let mut draining = Draining::default();
        let looks = [10, 9, 9, 12, 11, 0].map(|untaken| draining.look(untaken));
        assert_eq!(looks, [true, true, false, false, true, false]);
    }
}
