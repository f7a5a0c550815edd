//! The drivers on tokio: the same steps, with the reactor and the ring telling when to go on.

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
use crate::net::delivery::taken;
use crate::net::discard::{Heard, discard};
use crate::net::socket::StreamSocket;
use crate::step::Step;
use crate::step::Wait;
use crate::stream::draining::Draining;
use crate::stream::error::PeerError;
use crate::sys::{reactor, tcp};
use crate::timeout::bounded;

/// Bytes that a subscriber may be given before other tasks have their turn: some 100 µs at 10 GB/s.
const TURN: u64 = 1 << 20;

impl<S: AsFd> StreamSource<S> {
    /// Takes from the source until it has ended, as room and subscribers allow.
    ///
    /// A source that is a regular file is read as any other stream is, and blocks the thread while
    /// the disk is read.
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
                // Subscribers have their turn, so that they are not behind for want of one.
                Step::Moved(_) => yield_now().await,
                Step::Blocked(_) => {
                    if let Err(error) = readable(self.source().as_fd(), &mut readiness).await {
                        self.broke_off(&error);
                    }
                }
            }
        }
    }

    /// A step that is not for want of room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<Step> {
        self.register(cx.waker());
        match self.step() {
            Step::Blocked(Wait::Sink) => Poll::Pending,
            step => Poll::Ready(step),
        }
    }
}

/// Until the source has something; a descriptor may be in the reactor already, so a duplicate is
/// registered.
async fn readable(source: BorrowedFd<'_>, slot: &mut Option<AsyncFd<OwnedFd>>) -> io::Result<()> {
    let registered = match slot {
        Some(registered) => registered,
        None => slot.insert(reactor::register(source.try_clone_to_owned()?)?),
    };
    registered.ready(Interest::READABLE).await?.clear_ready();
    Ok(())
}

impl Subscriber<StreamSocket> {
    /// Gives the stream to the socket until the stream has ended, or the subscriber is gone.
    ///
    /// What the subscriber sends is read and thrown away. After the end, this waits until the
    /// subscriber has taken what it was given (for TCP: until its kernel has acknowledged it). With
    /// an `idle_timeout`, a subscriber that takes nothing for so long while there is something for
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
                // Who says much is never waited for, and may take nothing all the same.
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
                    // One alarm a subscriber, set again when it has come too early, and not one a
                    // wait.
                    if let Some(alarm) = alarm.as_mut().as_pin_mut() {
                        alarm.reset(begin + limit);
                    }
                }
                _ => yield_now().await,
            }
        }
        self.settle(idle_timeout).await;
    }

    /// Reads and gives what there is, both within the budget of a turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>, pace: &mut Pace) -> Poll<Turn> {
        let says_more = self.poll_hear(cx, pace);
        match self.poll_give(cx, pace) {
            // Nothing will wake it for what it said already.
            Poll::Pending if says_more => Poll::Ready(Turn::Spent),
            turn => turn,
        }
    }

    /// Gives what there is and the socket takes.
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
                    self.step();
                    continue;
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

    /// Reads some of what the subscriber says, and throws it away: unread, it would turn the end
    /// into a reset, and a reset would not be seen before there is something to give. Gives whether
    /// there may be more to read at once.
    fn poll_hear(&mut self, cx: &mut Context<'_>, pace: &mut Pace) -> bool {
        while !pace.deaf {
            let mut heard = Ok(Heard::All);
            let hear = || {
                heard = discard(&self.sink);
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
                // It has nothing more to say, and may go on listening.
                Ok(Heard::End) => pace.deaf = true,
                Err(errno) => {
                    let error = PeerError::new(errno);
                    self.send_state.end(SubscriberEnd::Gone { error });
                    pace.deaf = true;
                }
            }
        }
        false
    }

    /// Waits until the subscriber has taken what it was given: a close, and more so a reset, might
    /// take it away from it.
    async fn settle(&mut self, idle_timeout: Option<Duration>) {
        if !matches!(
            self.send_state.ended,
            Some(SubscriberEnd::Closed | SubscriberEnd::SourceDied)
        ) {
            return;
        }
        if let Err(errno) = taken(self.sink.as_fd(), idle_timeout).await {
            let error = PeerError::new(errno);
            self.send_state.ended = Some(match errno {
                Errno::TIMEDOUT => SubscriberEnd::TimedOut,
                _ => SubscriberEnd::Gone { error },
            });
        }
    }
}

/// What a wake-up led to, where it is more than waiting for the next one.
enum Turn {
    Over,
    /// There is more to do, but others come first.
    Spent,
    Alarm,
}

/// How a subscriber keeps up.
#[derive(Default)]
struct Pace {
    /// Since when there has been something for it, and it took nothing.
    owed_since: Option<Instant>,
    draining: Draining,
    /// It says no more.
    deaf: bool,
}
