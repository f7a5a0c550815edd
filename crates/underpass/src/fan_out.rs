//! One stream, many subscribers: bytes are taken from the source once, kept once, and given to each
//! at its own pace.
//!
//! Bulk is spliced in and lies in pipes; each subscriber gets it by tee(2), which shares the pages,
//! and splice(2): the CPU copies none of it. What trickles in is read into a small buffer and
//! written to each, as in a [relay](crate::relay). For a *file*, none of this is needed: each
//! subscriber is a [`Transfer`](crate::Transfer) of its own, and the page cache is what they share.
//!
//! It knows no runtime: [`StreamSource`] and [`Subscriber`] make one system call a step and never
//! wait, from any threads. With the feature `tokio`, `StreamSource::run` and `Subscriber::run`
//! drive them.
//!
//! ```
//! use std::io::{Read, Write};
//! use std::os::unix::net::UnixStream;
//! use underpass::Step;
//! use underpass::fan_out::{Hub, FanOutSettings};
//!
//! let hub = Hub::new(FanOutSettings::default());
//! let (mut producer, source) = UnixStream::pair()?;
//! let mut stream_source = hub.source(source)?;
//! let (near, mut far) = UnixStream::pair()?;
//! let mut subscriber = hub.subscribe(near)?;
//!
//! producer.write_all(b"to all")?;
//! drop(producer);
//! while stream_source.step() != Step::Done {}
//! while subscriber.step() != Step::Done {}
//! let mut got = String::new();
//! far.read_to_string(&mut got)?;
//! assert_eq!(got, "to all");
//! assert_eq!(subscriber.finish().0.bytes(), 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::route::Route;
use crate::stream::error::StreamError;

#[cfg(feature = "tokio")]
mod drive_tokio;
#[cfg(test)]
mod faults;
mod outcome;
mod receipt;
mod ring;
mod segment;
mod send_state;
mod source;
mod stats;
mod subscriber;

pub use outcome::{SourceCounts, SourceEnd, SubscriberCounts, SubscriberEnd};
pub use receipt::{FanOutEndpoint, SourceReceipt, SubscriberReceipt};
pub use source::StreamSource;
pub use stats::FanOutStats;
pub use subscriber::Subscriber;

use ring::{Finish, Ring};

/// 16 MiB: what a subscriber may fall behind, if nothing else is said.
pub const DEFAULT_LAG: u64 = 16 << 20;

/// What to do about a subscriber that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slow {
    /// Take no more from the source until it has caught up.
    #[default]
    Wait,
    /// Disconnect it when it is behind by the lag. This is for sources that do not wait, and whose
    /// pace the others keep.
    Drop,
}

/// What to do when nobody subscribes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alone {
    /// Take nothing from the source.
    #[default]
    Wait,
    /// Take what comes and throw it away.
    Discard,
}

/// How a stream is fanned out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FanOutSettings {
    /// Bytes that the slowest subscriber may be behind the source, and with that what is kept in
    /// memory. At least a part that was taken at once (1 MiB) is always kept; a part in a pipe
    /// counts as 256 KiB or more.
    pub lag: u64,
    /// About a subscriber that is further behind.
    pub slow: Slow,
    /// About a stream without subscribers.
    pub alone: Alone,
    /// Takes nothing from the source before there have been so many subscribers at once.
    pub begin_with: usize,
    /// A source that breaks off ends connections as one that ends does; accounts tell of it all the
    /// same. Without it, subscribers are reset, so that they do not take a part for the whole.
    pub clean_end: bool,
    /// [`Route::Splice`] or [`Route::ReadWrite`] for all bytes; without it, the source's bursts
    /// decide.
    pub route: Option<Route>,
}

impl FanOutSettings {
    /// A lag of [`DEFAULT_LAG`]; the slow are waited for; the source's bursts decide the route.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes the slowest subscriber may be behind the source.
    #[must_use]
    pub fn lag(mut self, bytes: u64) -> Self {
        self.lag = bytes;
        self
    }

    /// What to do about a subscriber that is further behind.
    #[must_use]
    pub fn slow(mut self, slow: Slow) -> Self {
        self.slow = slow;
        self
    }

    /// What to do while there are no subscribers.
    #[must_use]
    pub fn alone(mut self, alone: Alone) -> Self {
        self.alone = alone;
        self
    }

    /// Takes nothing from the source before this many subscribers are there.
    #[must_use]
    pub fn begin_with(mut self, subscribers: usize) -> Self {
        self.begin_with = subscribers;
        self
    }

    /// Ends connections in order, not by a reset, when the source breaks off.
    #[must_use]
    pub fn clean_end(mut self, clean: bool) -> Self {
        self.clean_end = clean;
        self
    }

    /// Moves all bytes by this route: [`Route::Splice`] or [`Route::ReadWrite`].
    #[must_use]
    pub fn route(mut self, route: impl Into<Option<Route>>) -> Self {
        self.route = route.into();
        self
    }
}

impl Default for FanOutSettings {
    fn default() -> Self {
        Self {
            lag: DEFAULT_LAG,
            slow: Slow::default(),
            alone: Alone::default(),
            begin_with: 0,
            clean_end: false,
            route: None,
        }
    }
}

/// What subscribers and the one source of a stream have in common. Clones are the same one, for any
/// thread.
#[derive(Clone, Debug)]
pub struct Hub(Arc<Shared>);

impl Hub {
    /// A stream that has no source yet.
    pub fn new(settings: FanOutSettings) -> Self {
        Self(Arc::new(Shared {
            ring: Mutex::new(Ring::new(&settings)),
            settings,
            stats: FanOutStats::default(),
        }))
    }

    /// Gives it its source, for good. A socket is marked `O_NONBLOCK` and stays so.
    ///
    /// # Errors
    /// [`StreamError::is_not_a_stream`] for a directory or a socket for messages;
    /// [`StreamError::is_source_taken`] where the stream has, or had, a source; otherwise that of
    /// fstat(2).
    pub fn source<S: AsFd>(&self, source: S) -> Result<StreamSource<S>, StreamError> {
        StreamSource::new(source, Arc::clone(&self.0))
    }

    /// Gives the stream to `socket` too, from the next byte on. After the end of the stream, that
    /// is its end alone.
    ///
    /// # Errors
    /// A socket that cannot be marked `O_NONBLOCK`.
    pub fn subscribe<D: AsFd>(&self, socket: D) -> Result<Subscriber<D>, StreamError> {
        Subscriber::new(socket, Arc::clone(&self.0))
    }

    /// Ends the stream where its source has not, as a source that breaks off does.
    pub fn close(&self) {
        self.0.finish(false);
    }

    /// How many get the next byte.
    pub fn subscribers(&self) -> usize {
        self.0.ring().active()
    }

    /// What was counted so far.
    pub fn stats(&self) -> &FanOutStats {
        &self.0.stats
    }
}

/// What the source and its subscribers share.
#[derive(Debug)]
struct Shared {
    settings: FanOutSettings,
    ring: Mutex<Ring>,
    stats: FanOutStats,
}

impl Shared {
    /// No more bytes come; the first word counts.
    fn finish(&self, whole: bool) {
        let how = if whole { Finish::Whole } else { Finish::Part };
        self.ring().finish(how);
    }

    /// The lock is held for no longer than a tee(2), or a write(2) of some KiB that does not wait.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
