//! One stream to many subscribers. Each byte is read from the source once, kept once, and sent to
//! each subscriber at its own pace.
//!
//! Bulk data is spliced into pipes. Each subscriber gets it by tee(2), which shares the pages, and
//! splice(2), so the CPU copies none of it. Small reads go through a small buffer and are written
//! to each subscriber, as in a [relay](crate::relay). To send a *file* to many, use one
//! [`Transfer`](crate::Transfer) for each: they share the page cache.
//!
//! [`StreamSource`] and [`Subscriber`] need no runtime. They make one system call a step, never
//! wait, and can live on different threads. With the feature `tokio`, `StreamSource::run` and
//! `Subscriber::run` drive them.
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

use crate::layer::Layer;
use crate::route::Route;
use crate::stream::error::StreamError;
use crate::wire::Wire;

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

/// How far a subscriber may fall behind unless [`FanOutSettings::lag`] says otherwise: 16 MiB.
pub const DEFAULT_LAG: u64 = 16 << 20;

/// What to do about a subscriber that does not keep up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Slow {
    /// Stop reading the source until the subscriber has caught up.
    #[default]
    Wait,
    /// Disconnect the subscriber when it is further behind than the lag. For sources that cannot
    /// wait.
    Drop,
}

/// What to do while there are no subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Alone {
    /// Do not read the source.
    #[default]
    Wait,
    /// Read the source and discard what it sends.
    Discard,
}

/// The settings of a fan-out.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FanOutSettings {
    /// How many bytes the slowest subscriber may be behind the source. This bounds the memory too.
    /// At least one segment (up to 1 MiB) is always kept, and a segment in a pipe counts as at
    /// least 256 KiB.
    pub lag: u64,
    /// What to do about a subscriber that is further behind.
    pub slow: Slow,
    /// What to do while there are no subscribers.
    pub alone: Alone,
    /// The source is not read before this many subscribers are there at once.
    pub begin_with: usize,
    /// When the source breaks off, close the subscribers' connections in order instead of resetting
    /// them. They then cannot tell a part from the whole; receipts still say so.
    pub clean_end: bool,
    /// [`Route::Splice`] or [`Route::ReadWrite`] for all bytes; `None` lets the sizes of the reads
    /// decide.
    pub route: Option<Route>,
}

impl FanOutSettings {
    /// The defaults: a lag of [`DEFAULT_LAG`], waiting for slow subscribers, and a route chosen by
    /// the sizes of the reads.
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

/// A stream: its one source and its subscribers are made from it. Clones refer to the same stream
/// and can be sent to other threads.
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

    /// Sets the source of the stream, which cannot be changed later. A socket is marked
    /// `O_NONBLOCK` and stays so.
    ///
    /// # Errors
    /// [`StreamError::is_not_a_stream`] for a directory or a socket for messages;
    /// [`StreamError::is_source_taken`] where the stream has, or had, a source; otherwise that of
    /// fstat(2).
    pub fn source<S: AsFd>(&self, source: S) -> Result<StreamSource<S>, StreamError> {
        self.source_through(source, None)
    }

    /// As [`source`](Self::source), for a socket with TLS. The stream ends where the producer says
    /// so (close_notify), and breaks off where the connection ends without it.
    ///
    /// # Errors
    /// As for [`source`](Self::source).
    pub fn source_through<S: AsFd>(
        &self,
        source: S,
        layer: impl Into<Option<Arc<dyn Layer>>>,
    ) -> Result<StreamSource<S>, StreamError> {
        let wire = layer.into().map(Wire::of).unwrap_or_default();
        StreamSource::new(source, wire, Arc::clone(&self.0))
    }

    /// Adds a subscriber, which gets the stream from the next byte on. After the end of the stream
    /// it gets only the end.
    ///
    /// # Errors
    /// A socket that cannot be marked `O_NONBLOCK`.
    pub fn subscribe<D: AsFd>(&self, socket: D) -> Result<Subscriber<D>, StreamError> {
        self.subscribe_through(socket, None)
    }

    /// As [`subscribe`](Self::subscribe), for a socket with TLS. All subscribers share what was
    /// read, and it is encrypted for each. While there is one with TLS in this process, bulk data
    /// is read into memory and not spliced.
    ///
    /// # Errors
    /// As for [`subscribe`](Self::subscribe).
    pub fn subscribe_through<D: AsFd>(
        &self,
        socket: D,
        layer: impl Into<Option<Arc<dyn Layer>>>,
    ) -> Result<Subscriber<D>, StreamError> {
        let wire = layer.into().map(Wire::of).unwrap_or_default();
        Subscriber::new(socket, wire, Arc::clone(&self.0))
    }

    /// Ends the stream as if its source had broken off. Does nothing if the source has ended.
    pub fn close(&self) {
        self.0.finish(false);
    }

    /// How many subscribers get the next byte.
    pub fn subscribers(&self) -> usize {
        self.0.ring().active()
    }

    /// The counters so far.
    pub fn stats(&self) -> &FanOutStats {
        &self.0.stats
    }
}

/// State shared by the source and its subscribers.
#[derive(Debug)]
struct Shared {
    settings: FanOutSettings,
    ring: Mutex<Ring>,
    stats: FanOutStats,
}

impl Shared {
    /// Ends the stream. Only the first call counts.
    fn finish(&self, whole: bool) {
        let how = if whole { Finish::Whole } else { Finish::Part };
        self.ring().finish(how);
    }

    /// Locks the ring. Nobody holds the lock for longer than one tee(2), or one write(2) of a few
    /// KiB that does not block.
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
