//! Memory and file ranges in order, as one source.

use std::fmt;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::AsFd;

use super::error::{Cause, Error};
use super::settings::{Progress, TransferSettings};
use crate::cancel::Cancel;
use crate::layer::Layer;
use crate::plan::Promise;
use crate::receipt::Receipt;
use crate::route::Route;
use crate::sys::{Kernel, Sys};
use crate::timeout::bounded;
use account::Account;
use work::Work;

pub use running::RunningSequence;

mod account;
mod pending;
mod running;
mod source;
mod work;

#[cfg(test)]
mod tests;

/// A file range of at most this many bytes is read and sent together with the memory around it.
/// Behind a head, a copy costs less CPU than sendfile up to here (`lab crossover`).
pub const GATHER_UP_TO: u64 = 16 << 10;

/// One part of a [`Sequence`]: memory, or a range of a file.
#[derive(Debug)]
pub struct Part(PartKind);

#[derive(Debug)]
enum PartKind {
    Memory(Vec<u8>),
    File(Arc<File>, Range<u64>),
    Flush,
}

impl Part {
    /// Bytes in memory.
    pub fn memory(bytes: impl Into<Vec<u8>>) -> Self {
        Self(PartKind::Memory(bytes.into()))
    }

    /// A range of a file. The file is closed when the part has been sent, unless it is shared.
    pub fn file(file: impl Into<Arc<File>>, range: Range<u64>) -> Self {
        Self(PartKind::File(file.into(), range))
    }

    /// No bytes: everything before it is handed to the kernel before the next part is asked for.
    /// For a source that waits for an answer of its peer.
    pub fn flush() -> Self {
        Self(PartKind::Flush)
    }
}

/// Makes the parts of a [`Sequence`], one after the other, when they are needed. A million of them
/// need no list.
///
/// Any iterator over parts is one.
pub trait Parts {
    /// The next part; `None` after the last.
    fn next_part(&mut self) -> Option<Part>;

    /// The file of the part that was returned last has ended `missing` bytes early. What now?
    /// Unless implemented, the sequence fails.
    fn ended_early(&mut self, missing: u64) -> EndedEarly {
        let _ = missing;
        EndedEarly::Fail
    }
}

impl<I: Iterator<Item = Part>> Parts for I {
    fn next_part(&mut self) -> Option<Part> {
        self.next()
    }
}

/// What to do about a file that is shorter than its part says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EndedEarly {
    /// The sequence ends with an error, [`Error::is_source_truncated`].
    Fail,
    /// Zeros are sent in place of the missing bytes.
    FillWithZeros,
}

/// Sends memory and file ranges in order to one sink, as if they were one file.
///
/// Each file range has a [plan](crate::plan) of its own, as with a
/// [`Transfer`](crate::Transfer), so its bytes go from the page cache to a socket without a copy.
/// Memory, and file ranges of at most [`GATHER_UP_TO`] bytes, are gathered and written together;
/// the receipt counts these copies. The sink is inspected only once.
///
/// The receipt is that of the whole: bytes, calls, routes and copies of all parts.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use underpass::{Part, Route, Sequence};
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&[7; 100_000])?;
/// let (near, mut far) = UnixStream::pair()?;
/// let reader = std::thread::spawn(move || {
///     let mut got = Vec::new();
///     far.read_to_end(&mut got).map(|_| got)
/// });
///
/// let parts = [Part::memory(*b"head"), Part::file(file, 0..100_000), Part::memory(*b"tail")];
/// let receipt = Sequence::new(parts.into_iter(), near).run()?;
/// assert_eq!(receipt.bytes, 100_008);
/// assert_eq!(receipt.route, Some(Route::Sendfile));
/// assert_eq!(receipt.copies.cpu_bytes, Some(8));
/// assert_eq!(reader.join().unwrap()?.len(), 100_008);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Blocking
/// Sockets become non-blocking for its length, as with a transfer. Making the parts and reading
/// small files may wait for the disk.
#[must_use = "a sequence does nothing until it is run"]
pub struct Sequence<'a, P, D> {
    parts: P,
    sink: D,
    settings: TransferSettings<'a>,
}

impl<'a, P: Parts, D: AsFd> Sequence<'a, P, D> {
    /// From parts to a descriptor.
    pub fn new(parts: P, sink: D) -> Self {
        Self {
            parts,
            sink,
            settings: TransferSettings::default(),
        }
    }

    /// Uses this route only, for all file ranges. Then none is gathered.
    pub fn route(mut self, route: impl Into<Option<Route>>) -> Self {
        self.settings.route = route.into();
        self
    }

    /// What the files promise; [`Promise::Shared`] unless set.
    pub fn promise(mut self, promise: Promise) -> Self {
        self.settings.promise = promise;
        self
    }

    /// The most bytes one step delivers, at least 1; [`DEFAULT_BUDGET`](crate::DEFAULT_BUDGET)
    /// unless set.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.settings.budget = bytes.max(1);
        self
    }

    /// Calls `progress` after each step that delivered something. The total is not known.
    pub fn progress(mut self, progress: impl FnMut(Progress) + Send + 'a) -> Self {
        self.settings.progress = Some(Box::new(progress));
        self
    }

    /// Lets `cancel` end it, also while it waits.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.settings.cancel = Some(cancel.clone());
        self
    }

    /// Fails when nothing was delivered for this long, within one part. No limit unless set.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = bounded(limit);
        self
    }

    /// Names the ends for receipts and errors.
    pub fn names(mut self, source: impl Into<String>, sink: impl Into<String>) -> Self {
        self.settings.source_name = Some(source.into());
        self.settings.sink_name = Some(sink.into());
        self
    }

    /// The sink is a socket with TLS: `layer` is what lies on it.
    pub fn sink_layer(mut self, layer: impl Into<Option<Arc<dyn Layer>>>) -> Self {
        self.settings.sink_layer = layer.into();
        self
    }

    /// Runs to the end on this thread. Waits with poll(2) while the sink is not ready.
    ///
    /// # Errors
    /// Whatever kept it from completing; the error's receipt says how far it came.
    pub fn run(self) -> Result<Receipt, Error> {
        self.start()?.run()
    }

    /// Inspects the sink. No part is asked for until the first step.
    ///
    /// # Errors
    /// The sink cannot be inspected.
    pub fn start(self) -> Result<RunningSequence<'a, P, D>, Error> {
        self.start_with(Kernel::default())
            .map(RunningSequence::new)
            .map_err(Error::new)
    }

    pub(super) fn start_with<K: Sys + Default>(self, sys: K) -> Result<Work<'a, P, D, K>, Cause> {
        Work::start(self.parts, self.sink, self.settings, sys)
    }
}

impl<P, D> fmt::Debug for Sequence<'_, P, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sequence")
            .field("route", &self.settings.route)
            .finish_non_exhaustive()
    }
}
