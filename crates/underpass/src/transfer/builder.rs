//! The builder of a transfer.

use std::fmt;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use std::time::Duration;

use rustix::fd::AsFd;

use super::error::{Cause, Error};
use super::input::Input;
use super::machine::Machine;
use super::running::Running;
use super::settings::{Progress, TransferSettings};
use super::setup;
use crate::cancel::Cancel;
use crate::layer::Layer;
use crate::memory::Memory;
use crate::plan::Promise;
use crate::receipt::Receipt;
use crate::route::Route;
use crate::sys::{Kernel, Sys};
use crate::timeout::bounded;

/// Builder of a transfer: its source, its sink, and its settings.
///
/// Each end can be anything that has a file descriptor: owned, borrowed, or of a runtime. The
/// transfer inspects both ends, makes a [plan](crate::plan), and moves the bytes by the first route
/// that the kernel accepts.
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
/// - A file, block device or memory: up to the size it has when the transfer starts. If it becomes
///   shorter meanwhile, that is an error ([`Error::is_source_truncated`]); bytes that are added are
///   ignored. Without [`range`](Self::range) the transfer starts at the descriptor's position and
///   advances it, as read(2) does.
/// - Anything else: up to its end, or to the end of the range. An urgent byte of TCP (`MSG_OOB`) is
///   left out, unless the socket has `SO_OOBINLINE`; it does not end the transfer.
///
/// A file as the sink is written from its position on, as by write(2). Holes of the source stay
/// holes where the sink has no data yet.
///
/// # Blocking and signals
/// A socket without `O_NONBLOCK` gets it for the length of the transfer; other users of the same
/// open socket see that. Files block on the disk as always. `SIGPIPE` must be ignored, as Rust's
/// runtime does; otherwise writing to a sink whose reader is gone ends the process.
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
    /// From memory, which the transfer owns until the kernel no longer refers to it.
    ///
    /// To a TCP socket it is sent by reference (`MSG_ZEROCOPY`) from
    /// [`ZEROCOPY_FROM`](crate::plan::ZEROCOPY_FROM) bytes on. The transfer completes when the
    /// kernel has reported for each send that it no longer needs the memory. If the kernel reports
    /// that it copied after all, the receipt says so and the rest is copied.
    ///
    /// The kernel reports on the socket's error queue, which belongs to the transfer while it runs.
    /// A program that also uses `MSG_ZEROCOPY` on this socket must have collected its own reports
    /// before.
    ///
    /// If the transfer is dropped before that, its memory stays allocated for the life of the
    /// process: reused, it would change bytes that are still to be sent.
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
            settings: TransferSettings::default(),
        }
    }

    /// Moves only these bytes of the source, counted from its start. The position of the source's
    /// descriptor does not change. A range of a stream must start at 0, so it is a length.
    ///
    /// A range that ends past the end of the source is an error, and no byte is moved.
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

    /// Uses this route only. If it cannot serve, the error lists the routes that can.
    pub fn route(mut self, route: impl Into<Option<Route>>) -> Self {
        self.settings.route = route.into();
        self
    }

    /// What the source promises; [`Promise::Shared`] unless set.
    pub fn promise(mut self, promise: Promise) -> Self {
        self.settings.promise = promise;
        self
    }

    /// The most bytes one step delivers, at least 1; [`DEFAULT_BUDGET`](crate::DEFAULT_BUDGET)
    /// unless set. The asynchronous driver lets other tasks run after each step.
    ///
    /// A reflink is one call that moves no bytes, so the budget does not apply.
    pub fn budget(mut self, bytes: u64) -> Self {
        self.settings.budget = bytes.max(1);
        self
    }

    /// Changes the bytes on the way: `edit` gets each chunk as it was read, of any length, and may
    /// change its content and its length. The bytes then pass through user space, with two copies
    /// by the CPU; the plan says so.
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

    /// Lets `cancel` end the transfer, also while it waits.
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
    /// socket by its peer's address. Looking up the path costs as much as sending some KiB, so a
    /// program with many small files names them.
    pub fn names(mut self, source: impl Into<String>, sink: impl Into<String>) -> Self {
        self.settings.source_name = Some(source.into());
        self.settings.sink_name = Some(sink.into());
        self
    }

    /// The source is a socket with TLS: `layer` is what lies on it. The transfer then ends where
    /// the peer says the end (close_notify). A connection that ends without it is an error
    /// ([`Error::layer_error`]).
    pub fn source_layer(mut self, layer: impl Into<Option<Arc<dyn Layer>>>) -> Self {
        self.settings.source_layer = layer.into();
        self
    }

    /// The sink is a socket with TLS: `layer` is what lies on it.
    ///
    /// The transfer sends all bytes, but not the end:
    /// [`await_delivery_through`](crate::await_delivery_through) does that.
    pub fn sink_layer(mut self, layer: impl Into<Option<Arc<dyn Layer>>>) -> Self {
        self.settings.sink_layer = layer.into();
        self
    }

    /// Runs to the end on this thread. Waits with poll(2) while an end is not ready.
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

    pub(super) fn start_with<K: Sys>(self, sys: K) -> Result<Machine<'a, S, D, K>, Cause> {
        setup::machine(sys, self.source, self.sink, self.settings)
    }
}
