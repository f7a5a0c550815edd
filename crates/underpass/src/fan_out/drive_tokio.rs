//! The tokio drivers. They make the same steps; the reactor and the ring wake them.

use std::future::{Future, poll_fn};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

use super::send_state::Ready;
use super::{StreamSource, Subscriber, SubscriberEnd};
use crate::layer::{CallError, LayerError};
use crate::net::delivery::taken;
use crate::net::discard::{Heard, discard};
use crate::net::farewell::close_lingering_async;
use crate::net::socket::StreamSocket;
use crate::step::Step;
use crate::step::Wait;
use crate::stream::draining::Draining;
use crate::stream::error::PeerError;
use crate::sys::{reactor, tcp};
use crate::timeout::bounded;

/// Most bytes sent to a subscriber before other tasks have a turn: about 100 µs at 10 GB/s.
const TURN: u64 = 1 << 20;

impl<S: AsFd> StreamSource<S> {
    /// Reads the source to its end, as fast as the lag and the subscribers allow.
    ///
    /// Reading a regular file blocks the thread while the disk is read.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled.
    ///
    /// # Cancel safety
    /// Cancel safe: the state is in `self`, and calling it again goes on where it stopped, with
    /// every byte.
    pub async fn run(&mut self) {
        let mut readiness = None;
        loop {
            match poll_fn(|cx| self.poll_room(cx)).await {
                Step::Done => return,
                // Let the subscribers run, so that they do not fall behind only because they were
                // not scheduled.
                Step::Moved(_) => yield_now().await,
                Step::Blocked(_) => {
                    if let Err(error) = readable(self.source().as_fd(), &mut readiness).await {
                        self.broke_off(&error);
                    }
                }
            }
        }
    }

    /// Makes a step as soon as the ring has room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.register(cx.waker());
        match self.step() {
            Step::Blocked(Wait::Sink) => Poll::Pending,
            step => Poll::Ready(step),
        }
    }
}

/// Waits until the source is readable. Registers a duplicate of the descriptor, since the original
/// may be registered already.
async fn readable(source: BorrowedFd<'_>, slot: &mut Option<AsyncFd<OwnedFd>>) -> io::Result<()> {
    let registered = match slot {
        Some(registered) => registered,
        None => slot.insert(reactor::register(source.try_clone_to_owned()?)?),
    };
    registered.ready(Interest::READABLE).await?.clear_ready();
    Ok(())
}

impl Subscriber<StreamSocket> {
    /// Sends the stream to the socket until the stream has ended or the subscriber is gone.
    ///
    /// What the subscriber sends is read and discarded. After the end of the stream, this waits
    /// until the subscriber has taken everything (TCP: until its kernel has acknowledged it). With
    /// an `idle_timeout`, a subscriber that takes nothing for that long although there is data for
    /// it is disconnected.
    ///
    /// # Panics
    /// Outside a tokio runtime with its timer enabled.
    ///
    /// # Cancel safety
    /// Cancel safe: the state is in `self`, and calling it again goes on where it stopped, with
    /// every byte.
    pub async fn run(&mut self, idle_timeout: Option<Duration>) {
        let mut pace = Pace::default();
        let idle_timeout = bounded(idle_timeout);
        let mut alarm = pin!(idle_timeout.map(sleep));
        loop {
            let turn = poll_fn(|cx| {
                let turn = self.poll_turn(cx, &mut pace);
                if let Poll::Ready(Turn::Over) = turn {
                    return turn;
                }
                // A subscriber that keeps sending never makes this wait, yet it may take nothing.
                let alarm = alarm.as_mut().as_pin_mut();
                if alarm.is_some_and(|alarm| alarm.poll(cx).is_ready()) {
                    return Poll::Ready(Turn::Alarm);
                }
                turn
            });
            match (turn.await, idle_timeout) {
                (Turn::Over, _) => break,
                (Turn::Alarm, Some(limit)) => {
                    let since = pace.owed_since.unwrap_or_else(Instant::now);
                    let mut begin = since;
                    if since.elapsed() >= limit {
                        let untaken = tcp::untaken(self.sink.as_fd()).unwrap_or(0);
                        if !pace.draining.look(untaken) {
                            self.send_state.end(SubscriberEnd::TimedOut);
                            break;
                        }
                        begin = Instant::now();
                    }
                    // One timer for each subscriber, reset when it fires too early, is cheaper than
                    // one for each wait.
                    if let Some(alarm) = alarm.as_mut().as_pin_mut() {
                        alarm.reset(begin + limit);
                    }
                }
                _ => yield_now().await,
            }
        }
        self.settle(idle_timeout).await;
    }

    /// Reads from the subscriber and writes to it, each within the budget of a turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>, pace: &mut Pace) -> Poll<Turn> {
        let says_more = self.poll_hear(cx, pace);
        match self.poll_give(cx, pace) {
            // No event will come for data that has arrived already.
            Poll::Pending if says_more => Poll::Ready(Turn::Spent),
            turn => turn,
        }
    }

    /// Sends the subscriber what is available, as much as its socket takes.
    fn poll_give(&mut self, cx: &mut Context<'_>, pace: &mut Pace) -> Poll<Turn> {
        let mut given = 0;
        while given < TURN {
            match self.send_state.register(cx.waker()) {
                Ready::Over => return Poll::Ready(Turn::Over),
                Ready::Wait => {
                    pace.owed_since = None;
                    return Poll::Pending;
                }
                Ready::Finish => {
                    // With TLS the end is a record, which may have to wait for room.
                    if !matches!(self.step(), Step::Blocked(_)) {
                        continue;
                    }
                }
                Ready::Give => {}
            }
            pace.owed_since.get_or_insert_with(Instant::now);
            let step = || self.send_state.step(&self.sys, self.sink.as_fd());
            match ready!(self.sink.poll_step(cx, Interest::WRITABLE, step)) {
                Step::Moved(0) | Step::Blocked(_) => {}
                Step::Moved(bytes) => {
                    given += bytes;
                    pace.owed_since = None;
                }
                Step::Done => return Poll::Ready(Turn::Over),
            }
        }
        Poll::Ready(Turn::Spent)
    }

    /// Reads some of what the subscriber sends, and discards it. Unread data would turn the close
    /// into a reset, and without reading, a reset by the peer would be noticed only at the next
    /// write. Returns whether there may be more to read right away.
    fn poll_hear(&mut self, cx: &mut Context<'_>, pace: &mut Pace) -> bool {
        while !pace.deaf {
            let mut heard = Ok(Heard::All);
            let hear = || {
                heard = discard(&self.sink, self.send_state.wire());
                match heard {
                    Ok(Heard::All) => Step::Blocked(Wait::Source),
                    _ => Step::Moved(0),
                }
            };
            if self
                .sink
                .poll_step(cx, Interest::READABLE, hear)
                .is_pending()
            {
                return false;
            }
            match heard {
                Ok(Heard::All) => {}
                Ok(Heard::Part) => return true,
                // The subscriber has ended its side, and may still receive.
                Ok(Heard::End) => pace.deaf = true,
                Err(error) => {
                    let error = PeerError::new(error);
                    self.send_state.end(SubscriberEnd::Gone { error });
                    pace.deaf = true;
                }
            }
        }
        false
    }

    /// Waits until the subscriber has taken everything. An earlier close could discard what is
    /// still queued, and an earlier reset would.
    async fn settle(&mut self, idle_timeout: Option<Duration>) {
        self.await_taken(idle_timeout).await;
        if let Some(SubscriberEnd::Gone { error }) = self.send_state.ended
            && let Some(LayerError::Broken(_)) = error.layer_error()
        {
            // It has been sent an alert, which a reset could overtake.
            close_lingering_async(self.sink.layer(), &self.sink).await;
        }
    }

    async fn await_taken(&mut self, idle_timeout: Option<Duration>) {
        if !matches!(
            self.send_state.ended,
            Some(SubscriberEnd::Closed | SubscriberEnd::SourceDied)
        ) {
            return;
        }
        let wire = self.send_state.wire().clone();
        if let Err(error) = taken(self.sink.as_fd(), wire, idle_timeout).await {
            self.send_state.ended = Some(match error {
                CallError::Errno(Errno::TIMEDOUT) => SubscriberEnd::TimedOut,
                error => SubscriberEnd::Gone {
                    error: PeerError::new(error),
                },
            });
        }
    }
}

/// How a turn ended, if it did not end in waiting for the next event.
enum Turn {
    Over,
    /// There is more to do, after other tasks have had their turn.
    Spent,
    Alarm,
}

/// The state of one subscriber's driver, for its idle timeout.
#[derive(Default)]
struct Pace {
    /// Since when there has been data for the subscriber without it taking any.
    owed_since: Option<Instant>,
    draining: Draining,
    /// The subscriber has ended its sending side.
    deaf: bool,
}
