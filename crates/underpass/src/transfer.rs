//! Moving bytes from a source to a sink.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::time::Duration;

use rustix::fd::{AsFd, BorrowedFd};

use crate::cancel::Cancel;
use crate::memory::Memory;
use crate::plan::Promise;
use crate::receipt::Receipt;
use crate::route::{Origin, Route};
use crate::sys::Kernel;
use crate::timeout::bounded;

use error::Cause;
pub use error::Error;
pub use running::Running;

mod blocking_mode;
mod counters;
mod drive_poll;
#[cfg(feature = "tokio")]
mod drive_tokio;
mod error;
mod extents;
#[cfg(test)]
mod faults;
mod machine;
mod running;
mod setup;

/// The most bytes a step delivers unless [`Transfer::budget`] says otherwise: 4 MiB, under a
/// millisecond at the rates that loopback reaches, so that a cancellation or another task is not
/// kept waiting.
pub const DEFAULT_BUDGET: u64 = 4 << 20;

/// Something bytes can be taken from: any [`AsFd`], or [`Memory`].
pub trait Input: sealed::Sealed {
    #[doc(hidden)]
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    #[doc(hidden)]
    fn memory(&self) -> Option<&[u8]> {
        None
    }
    /// Gives up the memory for good, leaving none behind.
    #[doc(hidden)]
    fn take_memory(&mut self) -> Option<Memory> {
        None
    }
}

mod sealed {
    use rustix::fd::AsFd;

    pub trait Sealed {}
    impl<T: AsFd> Sealed for T {}
    impl Sealed for super::Memory {}
}

impl<T: AsFd> Input for T {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Input for Memory {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn memory(&self) -> Option<&[u8]> {
        Some(self.bytes())
    }

    fn take_memory(&mut self) -> Option<Memory> {
        Some(std::mem::replace(self, Memory::new([])))
    }
}

/// Where a route takes bytes from.
fn origin<S: Input>(source: &S) -> Option<Origin<'_>> {
    source
        .memory()
        .map(Origin::Memory)
        .or_else(|| source.descriptor().map(Origin::Fd))
}

/// How far a transfer has come, for a progress callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes delivered.
    pub bytes: u64,
    /// Bytes to deliver in all, if that is known.
    pub total: Option<u64>,
}

type Edit<'a> = Box<dyn FnMut(&mut Vec<u8>) + Send + 'a>;
type OnProgress<'a> = Box<dyn FnMut(Progress) + Send + 'a>;

/// What a caller can set.
struct TransferSettings<'a> {
    range: Option<(u64, Option<u64>)>,
    route: Option<Route>,
    promise: Promise,
    budget: u64,
    edit: Option<Edit<'a>>,
    progress: Option<OnProgress<'a>>,
    cancel: Option<Cancel>,
    idle_timeout: Option<Duration>,
    source_name: Option<String>,
    sink_name: Option<String>,
}

/// A transfer to be made: where from, where to, and how.
///
/// Either end can be anything with a descriptor: owned, borrowed, or of a runtime. The ends are
/// asked what they are, a [plan](crate::plan) is made, and its first route that the kernel accepts
/// moves the bytes.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use underpass::{Route, Transfer};
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(&[7; 100_000])?;
/// let (near, mut far) = UnixStream::pair()?;
/// let reader = std::thread::spawn(move || {
///     let mut got = Vec::new();
///     far.read_to_end(&mut got).map(|_| got)
/// });
///
/// let receipt = Transfer::new(&file, near).range(..).run()?;
/// assert_eq!(receipt.route, Some(Route::Sendfile));
/// assert_eq!(receipt.copies.cpu_bytes, Some(0), "{}", receipt.copies.why);
/// assert_eq!(reader.join().unwrap()?, [7; 100_000]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # What is moved
/// - A file, block device or memory: up to the size it has when the transfer starts. If it then
///   turns out shorter, that is an error ([`Error::is_source_truncated`]); what is added meanwhile
///   is left. Without [`range`](Self::range) it starts at the descriptor's position and moves that
///   position, as read(2) does.
/// - Anything else: up to its end, or to the end of the range. An urgent byte of TCP (`MSG_OOB`)
///   ends nothing and is left out, unless the socket has `SO_OOBINLINE`.
///
/// A file as the sink is written from its position on, as by write(2); where the source has holes
/// and the sink nothing yet, they stay holes.
///
/// # Blocking and signals
/// A socket that is not marked `O_NONBLOCK` is marked for the length of the transfer; whoever else
/// uses the same open socket meanwhile sees that. Files block on the disk as they always do.
/// `SIGPIPE` must be ignored, as Rust's runtime does; else writing to a sink whose reader is gone
/// ends the process.
#[must_use = "a transfer does nothing until it is run or started"]
pub struct Transfer<'a, S, D> {
    source: S,
    sink: D,
    settings: TransferSettings<'a>,
}

impl<S, D> fmt::Debug for Transfer<'_, S, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("range", &self.settings.range)
            .field("route", &self.settings.route)
            .field("promise", &self.settings.promise)
            .finish_non_exhaustive()
    }
}

impl<S: AsFd, D: AsFd> Transfer<'_, S, D> {
    /// From one descriptor to another.
    pub fn new(source: S, sink: D) -> Self {
        Self::between(source, sink)
    }
}

impl<D: AsFd> Transfer<'_, Memory, D> {
    /// From memory that the transfer owns until the kernel has let go of it.
    ///
    /// To a TCP socket it is sent by reference (`MSG_ZEROCOPY`) from
    /// [`ZEROCOPY_FROM`](crate::plan::ZEROCOPY_FROM) bytes on. The transfer completes when the
    /// kernel has said of each send that it no longer needs the memory; if it says that it copied
    /// after all, the receipt reports so and the rest is copied.
    ///
    /// The kernel's answers come on the socket's error queue, which is this transfer's alone for as
    /// long as it runs: who uses `MSG_ZEROCOPY` on the same socket by other means must have
    /// collected the answers before.
    ///
    /// A transfer that is dropped before that keeps its memory allocated for the life of the
    /// process: freed and used again, it would change bytes still to be sent.
    ///
    /// ```
    /// use std::io::Read;
    /// use std::net::{TcpListener, TcpStream};
    /// use underpass::Transfer;
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let near = TcpStream::connect(listener.local_addr()?)?;
    /// let (mut far, _) = listener.accept()?;
    /// let reader = std::thread::spawn(move || {
    ///     let mut got = Vec::new();
    ///     far.read_to_end(&mut got).map(|_| got)
    /// });
    /// let receipt = Transfer::from_memory(vec![1_u8; 1 << 20], near).run()?;
    /// assert_eq!(receipt.bytes, 1 << 20);
    /// assert_eq!(reader.join().unwrap()?.len(), 1 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn from_memory(bytes: impl AsRef<[u8]> + Send + 'static, sink: D) -> Self {
        Self::between(Memory::new(bytes), sink)
    }
}

impl<'a, S: Input, D: AsFd> Transfer<'a, S, D> {
    fn between(source: S, sink: D) -> Self {
        Self {
            source,
            sink,
            settings: TransferSettings {
                range: None,
                route: None,
                promise: Promise::Shared,
                budget: DEFAULT_BUDGET,
                edit: None,
                progress: None,
                cancel: None,
                idle_timeout: None,
                source_name: None,
                sink_name: None,
            },
        }
    }

    /// Moves only these bytes of the source, offsets counted from its start; the position of the
    /// source's descriptor is left alone. A stream can be entered only at 0, so for it a range is a
    /// length.
    ///
    /// A range that ends past the end of the source is an error before a byte is moved.
    pub fn range(mut self, range: impl RangeBounds<u64>) -> Self {
        let start = match range.start_bound() {
            Bound::Included(&start) => start,
            Bound::Excluded(&before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => Some(last.saturating_add(1)),
            Bound::Excluded(&end) => Some(end),
            Bound::Unbounded => None,
        };
        self.settings.range = Some((start, end));
        self
    }

    /// Uses this route, or fails saying which would serve.
    pub fn route(mut self, route: impl Into<Option<Route>>) -> Self {
        self.settings.route = route.into();
        self
    }

    /// What the source promises; [`Promise::Shared`] unless set.
    pub fn promise(mut self, promise: Promise) -> Self {
        self.settings.promise = promise;
        self
    }

    /// The most bytes one step delivers, at least 1; [`DEFAULT_BUDGET`] unless set. The
    /// asynchronous driver lets other tasks run after each step.
    ///
    /// A reflink is one call and moves no bytes, so it is not cut up.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.settings.budget = bytes.max(1);
        self
    }

    /// Lets the program change the bytes on the way: `edit` is handed each chunk as it was read,
    /// wherever it happens to be cut, and may change its content and its length. The bytes then
    /// must pass through user space, with two copies by the CPU; the plan says so.
    ///
    /// ```
    /// use std::io::{Read, Write, pipe};
    /// use underpass::{Route, Transfer};
    ///
    /// let (source, mut writer) = pipe()?;
    /// writer.write_all(b"quiet")?;
    /// drop(writer);
    /// let (mut reader, sink) = pipe()?;
    /// let receipt = Transfer::new(source, sink)
    ///     .edit(|chunk| chunk.make_ascii_uppercase())
    ///     .run()?;
    /// assert_eq!(receipt.route, Some(Route::ReadWrite));
    /// let mut loud = String::new();
    /// reader.read_to_string(&mut loud)?;
    /// assert_eq!(loud, "QUIET");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn edit(mut self, edit: impl FnMut(&mut Vec<u8>) + Send + 'a) -> Self {
        self.settings.edit = Some(Box::new(edit));
        self
    }

    /// Calls `progress` after each step that delivered something.
    pub fn progress(mut self, progress: impl FnMut(Progress) + Send + 'a) -> Self {
        self.settings.progress = Some(Box::new(progress));
        self
    }

    /// Lets `cancel` end the transfer from elsewhere, also while it waits.
    pub fn cancel(mut self, cancel: &Cancel) -> Self {
        self.settings.cancel = Some(cancel.clone());
        self
    }

    /// Fails when nothing was delivered for this long. No limit unless set.
    ///
    /// With the asynchronous driver the runtime must have its timer enabled.
    pub fn idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.settings.idle_timeout = bounded(limit);
        self
    }

    /// Names the ends for receipts and errors. Unless named, a file is called by its path and a TCP
    /// socket by its peer's address.
    pub fn names(mut self, source: impl Into<String>, sink: impl Into<String>) -> Self {
        self.settings.source_name = Some(source.into());
        self.settings.sink_name = Some(sink.into());
        self
    }

    /// Runs to the end on this thread, waiting with poll(2) where an end is not ready.
    ///
    /// # Errors
    /// Whatever kept it from completing; [`Error::bytes`] says how many bytes were delivered.
    pub fn run(self) -> Result<Receipt, Error> {
        self.start()?.run()
    }

    /// Inspects the ends and makes the plan. No byte is moved until the first step.
    ///
    /// # Errors
    /// The ends cannot be inspected, no route serves, or the range does not fit.
    pub fn start(self) -> Result<Running<'a, S, D>, Error> {
        self.start_with(Kernel::default())
            .map(Running::new)
            .map_err(Error::new)
    }

    fn start_with<K: crate::sys::Sys>(
        self,
        sys: K,
    ) -> Result<machine::Machine<'a, S, D, K>, Cause> {
        setup::machine(sys, self.source, self.sink, self.settings)
    }
}
