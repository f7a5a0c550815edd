//! The tokio driver. It makes the same steps; the reactor wakes it.

use std::fmt;
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
/// [`RunningRelay`] does the same and also has the outcome if it is stopped before the end.
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
    let mut running = RunningRelay::new(near, far, settings);
    running.run().await;
    running.finish()
}

/// Two connections being joined, driven by tokio. Whenever it is stopped, it knows what arrived.
///
/// An idle connection holds neither a buffer nor a pipe, and a wake-up allocates nothing. Dropping
/// it before the end resets both TCP connections, so that neither side takes a part for the whole;
/// the counters of [`RelaySettings::stats`] then have what was moved.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::UnixStream;
/// use underpass::relay::{RelayEnd, RelaySettings, RunningRelay};
///
/// let (mut client, near) = UnixStream::pair()?;
/// let (far, mut target) = UnixStream::pair()?;
/// client.write_all(b"hello").await?;
/// let mut running = RunningRelay::new(near, far, &RelaySettings::default());
/// let mut came = [0; 5];
/// tokio::select! {
///     () = running.run() => {}
///     read = target.read_exact(&mut came) => assert_eq!(read?, 5),
/// }
/// let relayed = running.finish();
/// assert_eq!((relayed.up.bytes(), relayed.ended), (5, RelayEnd::Cut));
/// # Ok(())
/// # }
/// ```
pub struct RunningRelay {
    sockets: Sockets,
    joined: Joined,
    idle_timeout: Option<Duration>,
    /// Set when the relay is over.
    outcome: Option<RelayOutcome>,
}

impl RunningRelay {
    /// Joins two connections. [`run`](Self::run) moves their bytes.
    pub fn new(
        near: impl Into<StreamSocket>,
        far: impl Into<StreamSocket>,
        settings: &RelaySettings,
    ) -> Self {
        let (near, far) = (near.into(), far.into());
        for socket in [&near, &far] {
            // This fails only for a socket that is gone already.
            let _ = reset_on_close(socket);
        }
        let joined = Joined {
            sys: Kernel::default(),
            pair: Pair::new(settings, [near.port().wire, far.port().wire]),
            moved: Instant::now(),
            draining: Draining::default(),
            stats: settings.stats.clone(),
            counted: [DirectionCounts::default(); 2],
        };
        Self {
            sockets: Sockets { near, far },
            joined,
            idle_timeout: bounded(settings.idle_timeout),
            outcome: None,
        }
    }

    /// Moves bytes until both sides have ended, one is gone, or the idle timeout has passed.
    ///
    /// # Panics
    /// With an [`idle_timeout`](RelaySettings::idle_timeout), outside a tokio runtime whose timer
    /// is enabled.
    ///
    /// # Cancel safety
    /// If the future is dropped, no byte is lost: another call goes on where it stopped, and
    /// [`finish`](Self::finish) says what was moved.
    pub async fn run(&mut self) {
        if self.outcome.is_some() {
            return;
        }
        let ended = self.joined.run(&self.sockets, self.idle_timeout).await;
        if ended == RelayEnd::Closed {
            self.joined.settle(&self.sockets, self.idle_timeout).await;
        }
        self.conclude(ended);
        if let Some((side, CallError::Layer(LayerError::Broken(_)))) = self.joined.pair.gone {
            // It has been sent an alert, which a reset could overtake.
            let socket = self.sockets.at(side);
            close_lingering_async(socket.layer(), socket).await;
        }
    }

    /// Closes both connections and returns the outcome: [`RelayEnd::Cut`] if [`run`](Self::run) was
    /// not over.
    pub fn finish(mut self) -> RelayOutcome {
        self.conclude(RelayEnd::Cut)
    }

    /// The outcome; `otherwise` is how it ended if it is not over yet. Counts it once.
    fn conclude(&mut self, otherwise: RelayEnd) -> RelayOutcome {
        if let Some(outcome) = &self.outcome {
            return outcome.clone();
        }
        let outcome = self.joined.conclude(&self.sockets, otherwise);
        self.outcome.insert(outcome).clone()
    }
}

impl Drop for RunningRelay {
    fn drop(&mut self) {
        self.conclude(RelayEnd::Cut);
        let Sockets { near, far } = &self.sockets;
        self.joined.pair.part(near.as_fd(), far.as_fd());
    }
}

impl fmt::Debug for RunningRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningRelay")
            .field("pair", &self.joined.pair)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// How a turn ended, if it did not end in waiting for the next event.
enum Turn {
    Over,
    /// There is more to do, after other tasks have had their turn.
    Spent,
    Alarm,
}

struct Sockets {
    near: StreamSocket,
    far: StreamSocket,
}

impl Sockets {
    fn at(&self, side: Side) -> &StreamSocket {
        match side {
            Side::Near => &self.near,
            Side::Far => &self.far,
        }
    }
}

/// How two sockets are joined, and what has passed between them.
struct Joined {
    sys: Kernel,
    pair: Pair,
    /// When a byte was last written to a sink, or a sink was last seen to drain its queue.
    moved: Instant,
    draining: Draining,
    stats: Option<Arc<RelayStats>>,
    /// The counts of each direction that are in `stats` already.
    counted: [DirectionCounts; 2],
}

impl Joined {
    /// Moves bytes until both directions are over or the idle timeout has passed.
    async fn run(&mut self, sockets: &Sockets, idle_timeout: Option<Duration>) -> RelayEnd {
        let mut alarm = pin!(idle_timeout.map(sleep));
        let mut failing = pin!(Some(sockets.near.failing()));
        loop {
            let turn = std::future::poll_fn(|cx| {
                let turn = self.poll_turn(sockets, cx);
                let turn = self.or_failed(turn, sockets, failing.as_mut(), cx);
                let alarm = alarm.as_mut().as_pin_mut();
                match (turn, alarm.map(|alarm| alarm.poll(cx))) {
                    (Poll::Pending, Some(Poll::Ready(()))) => Poll::Ready(Turn::Alarm),
                    (turn, _) => turn,
                }
            });
            match turn.await {
                Turn::Over => return RelayEnd::Closed,
                Turn::Spent => tokio::task::yield_now().await,
                Turn::Alarm => {
                    let limit = idle_timeout.unwrap_or_default();
                    if self.moved.elapsed() >= limit && !self.drains(sockets) {
                        return RelayEnd::TimedOut;
                    }
                    let deadline = self.moved + limit;
                    // One timer for each connection, reset when it fires too early, is cheaper
                    // than one for each message.
                    if let Some(alarm) = alarm.as_mut().as_pin_mut() {
                        alarm.reset(deadline);
                    }
                }
            }
        }
    }

    /// Moves what can be moved in both directions, within the budget of a turn.
    fn poll_turn(&mut self, sockets: &Sockets, cx: &mut Context<'_>) -> Poll<Turn> {
        let given = Direction::BOTH.map(|way| self.advance(way, sockets, cx));
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
        sockets: &Sockets,
        mut failing: Pin<&mut Option<impl Future<Output = ()>>>,
        cx: &mut Context<'_>,
    ) -> Poll<Turn> {
        if turn.is_ready() || self.pair.up.next() != Next::Drain {
            return turn;
        }
        if let Some(told) = failing.as_mut().as_pin_mut() {
            ready!(told.poll(cx));
            failing.set(None);
            self.pair.look(sockets.near.as_fd());
        }
        if self.pair.is_over() {
            return Poll::Ready(Turn::Over);
        }
        Poll::Pending
    }

    /// Steps in one direction until it is over, the budget is spent, or it has to wait. Returns the
    /// bytes written to the sink.
    fn advance(&mut self, way: Direction, sockets: &Sockets, cx: &mut Context<'_>) -> u64 {
        let (source, sink) = (sockets.at(way.source()), sockets.at(way.sink()));
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
    fn drains(&mut self, sockets: &Sockets) -> bool {
        let untaken =
            [&sockets.near, &sockets.far].map(|socket| tcp::untaken(socket.as_fd()).unwrap_or(0));
        let drains = self.draining.look(untaken.iter().sum());
        if drains {
            self.moved = Instant::now();
        }
        drains
    }

    /// Waits until what was sent has arrived: the close may be a reset, which would discard it. A
    /// target whose client is gone is reset at once, since nobody waits for its answer.
    async fn settle(&mut self, sockets: &Sockets, idle_timeout: Option<Duration>) {
        let gone = self.pair.gone.map(|(side, _)| side);
        for side in [Side::Far, Side::Near] {
            let socket = sockets.at(side);
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

    /// Ends both directions, counts what is not acknowledged, and tells `stats` of it.
    fn conclude(&mut self, sockets: &Sockets, otherwise: RelayEnd) -> RelayOutcome {
        let [near, far] = [&sockets.near, &sockets.far].map(AsFd::as_fd);
        let relayed = self.pair.finish(otherwise, near, far);
        self.tell_of([relayed.up, relayed.down]);
        if let Some(stats) = &self.stats {
            stats.ended(&relayed);
        }
        relayed
    }
}
