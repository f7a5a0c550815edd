//! Whether a sink still drains its queue, so that a slow sink is not taken for a stalled one.

use std::time::Duration;

use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use rustix::net::sockopt;
use tokio::time::sleep;

use crate::net::delivery::SendQueue;
use crate::sys::tcp;

/// The length of a sink's queue when it was last checked, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Draining(Option<u64>);

impl Draining {
    /// Whether the queue is shorter than at the last check. The first check of a queue that is not
    /// empty counts as progress.
    pub(crate) fn look(&mut self, untaken: u64) -> bool {
        let before = self.0.replace(untaken);
        untaken > 0 && before.is_none_or(|before| untaken < before)
    }
}

/// Waits until a TCP peer has acknowledged everything that was sent. What the peer sends is left
/// unread. Fails with ETIMEDOUT if the peer acknowledges nothing for `idle_timeout`.
pub(crate) async fn arrived(
    sink: BorrowedFd<'_>,
    idle_timeout: Option<Duration>,
) -> Result<(), Errno> {
    let mut queue = SendQueue::new(u64::MAX);
    loop {
        sockopt::socket_error(sink)??;
        queue.look(tcp::unacknowledged(sink)?);
        if queue.is_empty() {
            return Ok(());
        }
        if queue.is_stalled(idle_timeout) {
            return Err(Errno::TIMEDOUT);
        }
        sleep(queue.next_pause()).await;
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
