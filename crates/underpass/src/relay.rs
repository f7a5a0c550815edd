//! Joins two sockets: what one sends goes to the other, in both directions. Bulk data does not pass
//! through user space.
//!
//! [`Relay`] needs no runtime: it makes one system call a step and never waits. With the feature
//! `tokio`, [`run`] drives one, and [`RunningRelay`] has its outcome also when it is stopped.
//!
//! - Each direction ends by itself. When one side ends its stream, the end is passed on after the
//!   last byte (a half-close), and the other direction goes on.
//! - When one side is gone (a reset, an unreachable network), what it sent before is still passed
//!   on, and then the other side is reset, so that it cannot take a part for the whole. A client is
//!   reset only after it has acknowledged what its target sent.
//! - Until both sides have ended, closing the sockets resets them, also when the process is killed
//!   and the kernel closes them.
//! - An urgent byte of TCP (`MSG_OOB`) is not passed on; all other bytes are. Other relays do the
//!   same.
//! - A direction copies through a small buffer until it proves to be bulk, and then splices through
//!   a pipe. [`DirectionCounts`] has the bytes of both.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::net::sockopt;

use crate::layer::{CallError, Layer};
use crate::net::close::{close_in_order, reset_on_close};
use crate::route::Route;
use crate::step::Step;
use crate::stream::error::{PeerError, StreamError};
use crate::sys::{Kernel, Sys, tcp};
use crate::wire::{Port, Wire};

use forwarder::{Forwarder, Gone, Next};

#[cfg(feature = "tokio")]
mod drive_tokio;
#[cfg(test)]
mod faults;
mod forwarder;
mod outcome;
mod receipt;
mod stats;

#[cfg(feature = "tokio")]
pub use drive_tokio::{RunningRelay, run};
pub use outcome::{DirectionCounts, RelayEnd, RelayOutcome};
pub use receipt::{DirectionReceipt, RelayEndpoints, RelayReceipt};
pub use stats::RelayStats;

/// One of the two directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the near socket to the far one: what a client sends to its target.
    Up,
    /// From the far socket to the near one.
    Down,
}

impl Direction {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Up, Self::Down];

    /// Where its bytes come from.
    pub const fn source(self) -> Side {
        match self {
            Self::Up => Side::Near,
            Self::Down => Side::Far,
        }
    }

    /// Where its bytes go.
    pub const fn sink(self) -> Side {
        match self {
            Self::Up => Side::Far,
            Self::Down => Side::Near,
        }
    }
}

/// One of the two sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Side {
    /// The one that was accepted: the client's.
    Near,
    /// The one that was connected: the target's.
    Far,
}

/// The settings of a relay.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RelaySettings {
    /// [`Route::Splice`] or [`Route::ReadWrite`] for all bytes; `None` lets the sizes of the reads
    /// decide, for each direction.
    pub route: Option<Route>,
    /// Resets both sides when neither was sent a byte for this long. Only drivers use it: a step
    /// knows no time.
    pub idle_timeout: Option<Duration>,
    /// Counters to update too: when the relay ends, and by a driver also while bytes pass.
    pub stats: Option<Arc<RelayStats>>,
}

impl RelaySettings {
    /// The defaults: a route chosen by the sizes of the reads, no time limit, no shared counters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves all bytes by this route: [`Route::Splice`] or [`Route::ReadWrite`].
    #[must_use]
    pub fn route(mut self, route: impl Into<Option<Route>>) -> Self {
        self.route = route.into();
        self
    }

    /// Resets both sides when neither was sent a byte for this long.
    #[must_use]
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = limit.into();
        self
    }

    /// Counts into `stats` too.
    #[must_use]
    pub fn stats(mut self, stats: impl Into<Option<Arc<RelayStats>>>) -> Self {
        self.stats = stats.into();
        self
    }
}

/// Two sockets being joined, stepped by hand or by a driver.
///
/// The sockets are marked `O_NONBLOCK` and stay so. Dropping a relay that is not over resets both
/// TCP connections, and counts it as cut.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use underpass::relay::{Relay, RelaySettings, Direction};
/// use underpass::{Step, Wait};
///
/// let (mut client, near) = UnixStream::pair()?;
/// let (far, mut target) = UnixStream::pair()?;
/// let mut relay = Relay::new(near, far, &RelaySettings::default())?;
/// assert_eq!(relay.step(Direction::Up), Step::Blocked(Wait::Source));
/// client.write_all(b"hello")?;
/// while relay.step(Direction::Up) != Step::Blocked(Wait::Source) {}
/// assert_eq!(target.read(&mut [0; 9])?, 5);
///
/// drop((client, target));
/// while !relay.is_over() {
///     Direction::BOTH.map(|way| relay.step(way));
/// }
/// assert_eq!(relay.finish().up.bytes(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Relay<A: AsFd, B: AsFd> {
    sys: Kernel,
    near: A,
    far: B,
    near_wire: Wire,
    far_wire: Wire,
    pair: Pair,
    stats: Option<Arc<RelayStats>>,
}

impl<A: AsFd, B: AsFd> Relay<A, B> {
    /// Joins two connected stream sockets.
    ///
    /// # Errors
    /// A descriptor that is not a socket ([`StreamError::is_not_a_stream`]).
    pub fn new(near: A, far: B, settings: &RelaySettings) -> Result<Self, StreamError> {
        Self::with_layers(near, far, None, None, settings)
    }

    /// As [`new`](Self::new), with TLS on one of the sockets or on both. A side ends when it says
    /// so (close_notify); one that ends without a word is gone ([`LayerError::Cut`]), and the other
    /// side is reset.
    ///
    /// With TLS in the kernel bulk data is spliced as without it; with TLS in this process it
    /// passes through a buffer.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    ///
    /// [`LayerError::Cut`]: crate::LayerError::Cut
    pub fn with_layers(
        near: A,
        far: B,
        near_layer: Option<Arc<dyn Layer>>,
        far_layer: Option<Arc<dyn Layer>>,
        settings: &RelaySettings,
    ) -> Result<Self, StreamError> {
        for socket in [near.as_fd(), far.as_fd()] {
            rustix::io::ioctl_fionbio(socket, true).map_err(StreamError::call)?;
            reset_on_close(socket).map_err(StreamError::call)?;
        }
        let [near_wire, far_wire] =
            [near_layer, far_layer].map(|layer| layer.map(Wire::of).unwrap_or_default());
        Ok(Self {
            sys: Kernel::default(),
            pair: Pair::new(settings, [&near_wire, &far_wire]),
            near,
            far,
            near_wire,
            far_wire,
            stats: settings.stats.clone(),
        })
    }

    /// Makes one system call for one direction, without waiting.
    ///
    /// [`Step::Done`] means that this direction is over; [`finish`](Self::finish) says how it
    /// ended.
    pub fn step(&mut self, way: Direction) -> Step {
        let near = Port::new(self.near.as_fd(), &self.near_wire);
        let far = Port::new(self.far.as_fd(), &self.far_wire);
        let [source, sink] = match way {
            Direction::Up => [near, far],
            Direction::Down => [far, near],
        };
        self.pair.step(&self.sys, way, source, sink)
    }

    /// Checks whether the near side was reset while its bytes wait for the far side; if so, both
    /// directions are over. No step checks this, because none touches the near socket then. Call it
    /// when the event loop reports an error of the near socket (`EPOLLERR`).
    pub fn look(&mut self) {
        self.pair.look(self.near.as_fd());
    }

    /// Both directions are over.
    pub fn is_over(&self) -> bool {
        self.pair.is_over()
    }

    /// Bytes read from the source and not yet written to the sink.
    pub fn in_flight(&self, way: Direction) -> u64 {
        self.pair.forwarder(way).in_flight()
    }

    /// Bytes sent over TCP that the peer has not acknowledged yet; an end that was passed on counts
    /// as one. For Unix sockets 0: what was written is with the peer. If one side is gone,
    /// [`finish`](Self::finish) resets the other one: wait for 0 before that.
    ///
    /// # Errors
    /// The sink is not a socket.
    pub fn unacknowledged(&self, way: Direction) -> std::io::Result<u64> {
        let sink = match way.sink() {
            Side::Near => self.near.as_fd(),
            Side::Far => self.far.as_fd(),
        };
        Ok(tcp::unacknowledged(sink)?)
    }

    /// Closes both sockets, by a reset if not everything was delivered, and returns the outcome.
    pub fn finish(mut self) -> RelayOutcome {
        self.conclude()
    }

    /// Ends both directions, and counts the outcome into `stats`, once.
    fn conclude(&mut self) -> RelayOutcome {
        let [near, far] = [self.near.as_fd(), self.far.as_fd()];
        let relayed = self.pair.finish(RelayEnd::Cut, near, far);
        if let Some(stats) = self.stats.take() {
            for carried in [&relayed.up, &relayed.down] {
                stats.carried(&DirectionCounts::default(), carried);
            }
            stats.ended(&relayed);
        }
        relayed
    }
}

impl<A: AsFd, B: AsFd> Drop for Relay<A, B> {
    fn drop(&mut self) {
        if self.stats.is_some() {
            self.conclude();
        }
        self.pair.part(self.near.as_fd(), self.far.as_fd());
    }
}

impl<A: AsFd, B: AsFd> fmt::Debug for Relay<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("pair", &self.pair)
            .finish_non_exhaustive()
    }
}

/// Both directions, and how the end of one affects the other.
#[derive(Debug)]
struct Pair {
    up: Forwarder,
    down: Forwarder,
    /// The side that was found gone first, and the error.
    gone: Option<(Side, CallError)>,
    begun: Instant,
}

impl Pair {
    fn new(settings: &RelaySettings, wires: [&Wire; 2]) -> Self {
        let in_process = wires.iter().any(|wire| wire.is_user());
        Self {
            up: Forwarder::new(settings.route, in_process),
            down: Forwarder::new(settings.route, in_process),
            gone: None,
            begun: Instant::now(),
        }
    }

    fn forwarder(&self, way: Direction) -> &Forwarder {
        match way {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        }
    }

    fn forwarder_mut(&mut self, way: Direction) -> &mut Forwarder {
        match way {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }

    fn is_over(&self) -> bool {
        Direction::BOTH.map(|way| self.forwarder(way).next()) == [Next::Nothing; 2]
    }

    fn step<K: Sys>(&mut self, sys: &K, way: Direction, source: Port<'_>, sink: Port<'_>) -> Step {
        if self.gone.is_some() && self.forwarder(way).next() == Next::End {
            // The source's end may be due to the reset. It is passed on as a reset when both
            // directions are over.
            self.forwarder_mut(way).abandon();
        }
        match self.forwarder_mut(way).step(sys, source, sink) {
            Ok(did) => did,
            Err(Gone::Source(error)) => {
                self.lost(way.source(), error);
                Step::Done
            }
            // What the sink sent before may still be readable (pitfall 12): the other direction
            // goes on to its own end.
            Err(Gone::Sink(error)) => {
                self.gone.get_or_insert((way.sink(), error));
                self.forwarder_mut(way).abandon();
                Step::Done
            }
        }
    }

    /// Ends both directions if the client was reset while its bytes wait for a target that takes
    /// none. The bytes are of no use then, and the target is told at once. (What a target sent
    /// before it was reset still goes to its client, because it is a response.)
    fn look(&mut self, near: BorrowedFd<'_>) {
        if self.up.next() != Next::Drain {
            return;
        }
        // Reading SO_ERROR clears it, and an earlier write to the client may have got the error.
        match (sockopt::socket_error(near), self.gone) {
            (Ok(Err(errno)), _) => self.lost(Side::Near, errno.into()),
            (_, Some((Side::Near, error))) => self.lost(Side::Near, error),
            _ => {}
        }
    }

    fn lost(&mut self, side: Side, error: CallError) {
        self.gone.get_or_insert((side, error));
        self.abandon();
    }

    /// Ends both directions and returns the outcome. `otherwise` is the reason if neither side
    /// ended it.
    fn finish(
        &mut self,
        otherwise: RelayEnd,
        near: BorrowedFd<'_>,
        far: BorrowedFd<'_>,
    ) -> RelayOutcome {
        let ended = match self.gone {
            Some((by, error)) => RelayEnd::Reset {
                by,
                error: PeerError::new(error),
            },
            None if self.is_over() => RelayEnd::Closed,
            None => otherwise,
        };
        self.abandon();
        self.up.count_unacknowledged(far);
        self.down.count_unacknowledged(near);
        if ended != RelayEnd::Closed {
            for carried in [&mut self.up.carried, &mut self.down.carried] {
                carried.ended &= carried.unacknowledged == 0;
            }
        }
        RelayOutcome {
            up: self.up.carried,
            down: self.down.carried,
            ended,
            wall: self.begun.elapsed(),
        }
    }

    fn abandon(&mut self) {
        self.up.abandon();
        self.down.abandon();
    }

    /// Prepares the sockets for closing. Only if both sides have ended is the close not a reset.
    fn part(&self, near: BorrowedFd<'_>, far: BorrowedFd<'_>) {
        if self.gone.is_none() && self.up.carried.ended && self.down.carried.ended {
            // This fails only for a socket that is gone already.
            let _ = close_in_order(near);
            let _ = close_in_order(far);
        }
    }
}
