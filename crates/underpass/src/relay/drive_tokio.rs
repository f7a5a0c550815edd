//! The tokio driver. It makes the same steps; the reactor wakes it.

use std::os::fd::AsFd;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::Interest;
use tokio::time::{Instant, sleep};

use super::forwarder::Next;
use super::{
    Direction, DirectionCounts, Pair, RelayEnd, RelayOutcome, RelaySettings, RelayStats, Side,
};
use crate::layer::{CallError, LayerError};
use crate::net::close::reset_on_close;
use crate::net::farewell::close_lingering_async;
use crate::net::socket::StreamSocket;
use crate::step::Step;
use crate::stream::draining::{Draining, arrived};
use crate::sys::{Kernel, tcp};
use crate::timeout::bounded;

/// Most bytes that one direction moves before other tasks have a turn: about 100 µs at 10 GB/s.
const TURN: u64 = 1 << 20;

/// Joins two connections until both have ended, one is gone, or the idle timeout has passed.
///
/// An idle connection holds neither a buffer nor a pipe, and a wake-up allocates nothing.
///
/// # Panics
/// With an [`idle_timeout`](RelaySettings::idle_timeout), outside a tokio runtime whose timer is
/// enabled.
///
/// # Cancel safety
/// Dropping the future resets both TCP connections, so that neither side takes a
/// part for the whole.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::UnixStream;
/// use underpass::relay::RelaySettings;
///
/// let (mut client, near) = UnixStream::pair()?;
/// let (far, mut target) = UnixStream::pair()?;
/// client.write_all(b"hello").await?;
/// client.shutdown().await?;
/// target.shutdown().await?;
/// let relayed = underpass::relay::run(near, far, &RelaySettings::default()).await;
/// assert_eq!(relayed.up.bytes(), 5);
/// assert_eq!(relayed.ended, underpass::relay::RelayEnd::Closed);
/// # Ok(())
/// # }
/// ```
pub async fn run(
    near: impl Into<StreamSocket>,
    far: impl Into<StreamSocket>,
    settings: &RelaySettings,
) -> RelayOutcome {
    let (near, far) = (near.into(), far.into());
    for socket in [&near, &far] {
        // This fails only for a socket that is gone already.
        let _ = reset_on_close(socket);
    }
    let mut joined = Joined {
        sys: Kernel::default(),
        near: &near,
        far: &far,
        pair: Pair::new(settings, [near.port().wire, far.port().wire]),
        moved: Instant::now(),
        draining: Draining::default(),
        stats: settings.stats.clone(),
        counted: [DirectionCounts::default(); 2],
    };
    let idle_timeout = bounded(settings.idle_timeout);
    let mut alarm = pin!(idle_timeout.map(sleep));
    let mut failing = pin!(Some(near.failing()));
    let otherwise = loop {
        let turn = std::future::poll_fn(|cx| {
            let turn = joined.poll_turn(cx);
            let turn = joined.or_failed(turn, failing.as_mut(), cx);
            let alarm = alarm.as_mut().as_pin_mut();
            match (turn, alarm.map(|alarm| alarm.poll(cx))) {
                (Poll::Pending, Some(Poll::Ready(()))) => Poll::Ready(Turn::Alarm),
                (turn, _) => turn,
            }
        });
        match turn.await {
            Turn::Over => break RelayEnd::Closed,
            Turn::Spent => tokio::task::yield_now().await,
            Turn::Alarm => {
                let limit = idle_timeout.unwrap_or_default();
                if joined.moved.elapsed() >= limit && !joined.drains() {
                    break RelayEnd::TimedOut;
                }
                let deadline = joined.moved + limit;
                // One timer for each connection, reset when it fires too early, is cheaper than one
                // for each message.
                if let Some(alarm) = alarm.as_mut().as_pin_mut() {
                    alarm.reset(deadline);
                }
            }
        }
    };
    if otherwise == RelayEnd::Closed {
        joined.settle(idle_timeout).await;
    }
    let relayed = joined.pair.finish(otherwise, near.as_fd(), far.as_fd());
    if let Some((side, CallError::Layer(LayerError::Broken(_)))) = joined.pair.gone {
        // It has been sent an alert, which a reset could overtake.
        let socket = if side == Side::Near { &near } else { &far };
        close_lingering_async(socket.layer(), socket).await;
    }
    joined.tell_of([relayed.up, relayed.down]);
    if let Some(stats) = &settings.stats {
        stats.ended(&relayed);
    }
    relayed
}

/// How a turn ended, if it did not end in waiting for the next event.
enum Turn {
    Over,
    /// There is more to do, after other tasks have had their turn.
    Spent,
    Alarm,
}

struct Joined<'a> {
    sys: Kernel,
    near: &'a StreamSocket,
    far: &'a StreamSocket,
    pair: Pair,
    /// When a byte was last written to a sink, or a sink was last seen to drain its queue.
    moved: Instant,
    draining: Draining,
    stats: Option<Arc<RelayStats>>,
    /// The counts of each direction that are in `stats` already.
    counted: [DirectionCounts; 2],
}

impl Joined<'_> {
    /// Moves what can be moved in both directions, within the budget of a turn.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<Turn> {
        let given = Direction::BOTH.map(|way| self.advance(way, cx));
        if given.iter().any(|given| *given > 0) {
            self.moved = Instant::now();
            self.tell();
        }
        if self.pair.is_over() {
            Poll::Ready(Turn::Over)
        } else if given.iter().any(|given| *given >= TURN) {
            Poll::Ready(Turn::Spent)
        } else {
            Poll::Pending
        }
    }

    /// Notices a client that was reset while its bytes wait for the target, when no call touches
    /// its socket.
    fn or_failed(
        &mut self,
        turn: Poll<Turn>,
        mut failing: Pin<&mut Option<impl Future<Output = ()>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Turn> {
        if turn.is_ready() || self.pair.up.next() != Next::Drain {
            return turn;
        }
        if let Some(told) = failing.as_mut().as_pin_mut() {
            ready!(told.poll(cx));
            failing.set(None);
            self.pair.look(self.near.as_fd());
        }
        if self.pair.is_over() {
            return Poll::Ready(Turn::Over);
        }
        Poll::Pending
    }

    /// Steps in one direction until it is over, the budget is spent, or it has to wait. Returns the
    /// bytes written to the sink.
    fn advance(&mut self, way: Direction, cx: &mut Context<'_>) -> u64 {
        let (source, sink) = match way {
            Direction::Up => (self.near, self.far),
            Direction::Down => (self.far, self.near),
        };
        let mut given = 0;
        while given < TURN {
            let (socket, interest) = match self.pair.forwarder(way).next() {
                Next::Fill => (source, Interest::READABLE),
                Next::Drain | Next::End => (sink, Interest::WRITABLE),
                Next::Nothing => break,
            };
            let step = || self.pair.step(&self.sys, way, source.port(), sink.port());
            match socket.poll_step(cx, interest, step) {
                Poll::Ready(Step::Moved(bytes)) => given += bytes,
                Poll::Ready(Step::Blocked(_)) => {}
                Poll::Ready(Step::Done) | Poll::Pending => break,
            }
        }
        given
    }

    /// Whether a sink still drains its queue, though nothing new can be written.
    fn drains(&mut self) -> bool {
        let untaken = [self.near, self.far].map(|socket| tcp::untaken(socket.as_fd()).unwrap_or(0));
        let drains = self.draining.look(untaken.iter().sum());
        if drains {
            self.moved = Instant::now();
        }
        drains
    }

    /// Waits until what was sent has arrived: the close may be a reset, which would discard it. A
    /// target whose client is gone is reset at once, since nobody waits for its answer.
    async fn settle(&mut self, idle_timeout: Option<Duration>) {
        let gone = self.pair.gone.map(|(side, _)| side);
        for (side, socket) in [(Side::Far, self.far), (Side::Near, self.near)] {
            if matches!(gone, Some(gone) if gone == side || gone == Side::Near) {
                continue;
            }
            if let Err(errno) = arrived(socket.as_fd(), idle_timeout).await {
                self.pair.gone.get_or_insert((side, errno.into()));
            }
        }
    }

    fn tell(&mut self) {
        self.tell_of([self.pair.up.carried, self.pair.down.carried]);
    }

    fn tell_of(&mut self, now: [DirectionCounts; 2]) {
        if let Some(stats) = &self.stats {
            for (before, now) in self.counted.iter().zip(&now) {
                stats.carried(before, now);
            }
            self.counted = now;
        }
    }
}

impl Drop for Joined<'_> {
    fn drop(&mut self) {
        self.pair.abandon();
        self.tell();
        self.pair.part(self.near.as_fd(), self.far.as_fd());
    }
}
