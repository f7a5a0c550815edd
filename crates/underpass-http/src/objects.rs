//! What a store of objects has to offer, so that [`ServeDir`](crate::ServeDir) serves them like
//! files.
//!
//! An object's bytes are in a local file, as far as they have arrived. The rest of that file is a
//! hole, which reads as zeros and is never sent. To HTTP such an object is a file whose missing
//! pages are farther away than the disk: it looks first, waits elsewhere, and then sends.

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;

/// What a store is still busy with. Dropping it must lose nothing that others wait for.
pub type ObjectFuture<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

/// Objects by their names: a bucket, or a part of one.
///
/// Names are those of [`ServeDir`](crate::ServeDir): components joined by `/`. None of them is
/// empty, `.` or `..`, and none contains NUL.
///
/// An error is a [`StoreError`], which says what clients are answered; `NotFound` if there is no
/// such object; or any other, which is answered 500.
pub trait Objects: Send + Sync + 'static {
    /// The object of this name, in its current version, as far as that has to be known.
    ///
    /// It is asked for each name that a request leads to, also for those of which there is nothing
    /// (an index, precompressed siblings). So both answers should be remembered for a while.
    ///
    /// # Errors
    /// `NotFound` if there is none.
    fn find(&self, name: &str) -> ObjectFuture<Arc<dyn Object>>;

    /// Like [`find`](Self::find), for a response that will probably have the object's first bytes.
    /// A store can give those by the same request.
    ///
    /// # Errors
    /// As those of `find`, which is called without an implementation.
    fn find_to_read(&self, name: &str) -> ObjectFuture<FoundObject> {
        let found = self.find(name);
        Box::pin(async { found.await.map(FoundObject::new) })
    }

    /// Whether there are objects below this name: whose names begin with it and a slash. It should
    /// be remembered for a while, too. It is not asked for the root.
    fn is_directory(&self, name: &str) -> ObjectFuture<bool>;

    /// The next page of what is directly below a directory, whose name is empty for the root.
    /// `after` is [`ObjectPage::next`] of the page before it.
    fn list(&self, directory: &str, after: Option<&str>) -> ObjectFuture<ObjectPage>;

    /// Forgets what is remembered of a name, so that [`find`](Self::find) asks the store: the
    /// object is being replaced.
    fn forget(&self, name: &str) {
        let _ = name;
    }

    /// Begins to make an object, which takes the place of one of the same name if there is one.
    ///
    /// # Errors
    /// `InvalidInput` if the store can have no object of this name; `Unsupported` without an
    /// implementation.
    fn create(&self, name: &str, precondition: Precondition) -> ObjectFuture<Box<dyn NewObject>> {
        let _ = (name, precondition);
        Box::pin(async { Err(io::ErrorKind::Unsupported.into()) })
    }

    /// Is told, for logs, why a request could not be answered. Called in the connection's task, so
    /// it must not block.
    fn failed(&self, error: &StoreError) {
        let _ = error;
    }
}

/// What [`Objects::find_to_read`] found.
#[non_exhaustive]
pub struct FoundObject {
    /// The object.
    pub object: Arc<dyn Object>,
    /// Whether its first bytes come from the store because they were asked for now, so that a
    /// response does not count as one from the cache.
    pub is_fetched: bool,
}

impl FoundObject {
    /// An object whose first bytes were not asked for.
    pub fn new(object: Arc<dyn Object>) -> Self {
        let is_fetched = false;
        Self { object, is_fetched }
    }

    /// Sets [`is_fetched`](Self::is_fetched).
    #[must_use]
    pub fn fetched(mut self, is_fetched: bool) -> Self {
        self.is_fetched = is_fetched;
        self
    }
}

impl fmt::Debug for FoundObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("FoundObject");
        shown.field("is_fetched", &self.is_fetched);
        shown.finish_non_exhaustive()
    }
}

/// One version of an object, of which some bytes are in a local file.
pub trait Object: Send + Sync + 'static {
    /// The file: at least as long as the object, with each byte that is present at its place. It
    /// is mapped, and sent by sendfile(2). Bytes that are present stay as they are while this
    /// exists, also after the file lost its name.
    fn file(&self) -> &File;

    /// The length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether this version need not be looked for again. It is asked for every request, so it
    /// should make no system call.
    fn is_fresh(&self) -> bool;

    /// How many bytes from `offset` are present without a gap, at most `max`. Never waits.
    fn present(&self, offset: u64, max: u64) -> u64;

    /// Waits until the byte at `offset` is present. `len` bytes from there will be read in order,
    /// so it may fetch ahead.
    ///
    /// # Errors
    /// `StaleNetworkFileHandle` if nothing more will arrive in this file, because its room was
    /// given to others: a response goes on by [`reopen`](Self::reopen). `InvalidData` if the store
    /// has another version by now; a [`StoreError`] if it does not answer. A response that has
    /// begun is then cut short.
    fn want(self: Arc<Self>, offset: u64, len: u64) -> ObjectFuture<()>;

    /// The same version in another file, in which the byte at `offset` is present. It is asked
    /// after [`want`](Self::want) said `StaleNetworkFileHandle`. This one should be let go first,
    /// because its room may be needed.
    ///
    /// # Errors
    /// As those of `want`. Without an implementation, that the object left the cache.
    fn reopen(self: Arc<Self>, offset: u64) -> ObjectFuture<Arc<dyn Object>> {
        let left = StoreError::unavailable(format!("it left the cache before byte {offset}"));
        Box::pin(async { Err(left.into()) })
    }

    /// Whether its file has no name any more, so that its room is free once this is dropped. It is
    /// asked often, so it should make no system call.
    fn has_left(&self) -> bool {
        false
    }

    /// The entity tag as the store says it, with its quotes.
    fn etag(&self) -> Option<&str> {
        None
    }

    /// When it was last changed.
    fn modified(&self) -> Option<SystemTime> {
        None
    }

    /// The `Content-Type` that it was stored with.
    fn content_type(&self) -> Option<&str> {
        None
    }

    /// The `Content-Encoding` that it was stored with.
    fn content_encoding(&self) -> Option<&str> {
        None
    }

    /// The `Cache-Control` that it was stored with.
    fn cache_control(&self) -> Option<&str> {
        None
    }
}

/// Marks a response whose body is of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfObject(pub(crate) Cached);

/// How much of a response's body was in the object's local file when the response was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cached {
    Whole,
    /// The first byte, but not all.
    Part,
    /// Not even the first byte.
    Nothing,
}

impl Cached {
    /// Of one or several ranges of an object, which are sent in this order.
    pub(crate) fn of(object: &dyn Object, ranges: &[Range<u64>]) -> Self {
        let present = |range: &Range<u64>| object.present(range.start, range.end - range.start);
        let is_whole = |range: &Range<u64>| present(range) == range.end - range.start;
        if ranges.iter().all(is_whole) {
            Self::Whole
        } else if ranges.first().is_some_and(|first| present(first) > 0) {
            Self::Part
        } else {
            Self::Nothing
        }
    }
}

/// What must be so when an object is made. The store decides, once it has all bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// No object has the name.
    Absent,
    /// The object of the name has this entity tag, with its quotes.
    Is(String),
}

/// An object on its way into a store. Dropping it before it is finished makes none.
pub trait NewObject: Send {
    /// Takes the next bytes. A few MiB are kept in memory; the store has the others when this is
    /// ready.
    ///
    /// # Errors
    /// A [`StoreError`] if the store does not take them.
    fn write(self: Box<Self>, bytes: Bytes) -> ObjectFuture<Box<dyn NewObject>>;

    /// Makes the object. When this is ready, the store has confirmed it. Returns its entity tag,
    /// with quotes, if the store says one.
    ///
    /// # Errors
    /// `InvalidData` if the precondition does not hold, `Unsupported` if the store knows none; a
    /// [`StoreError`].
    fn finish(self: Box<Self>) -> ObjectFuture<Option<String>>;
}

/// A page of a listing.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ObjectPage {
    /// What is directly below the directory, in any order.
    pub entries: Vec<ObjectEntry>,
    /// What to ask for the next page with, if there is one.
    pub next: Option<String>,
}

impl ObjectPage {
    /// The last page, with these entries.
    pub fn new(entries: Vec<ObjectEntry>) -> Self {
        Self {
            entries,
            next: None,
        }
    }

    /// Sets [`next`](Self#structfield.next).
    #[must_use]
    pub fn next(self, next: Option<String>) -> Self {
        Self { next, ..self }
    }
}

/// One name of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectEntry {
    /// The name below the directory, without slashes.
    pub name: String,
    /// The size of an object in bytes; `None` for a directory.
    pub size: Option<u64>,
    /// When an object was last changed.
    pub modified: Option<SystemTime>,
}

impl ObjectEntry {
    /// An object of this size.
    pub fn object(name: impl Into<String>, size: u64, modified: Option<SystemTime>) -> Self {
        Self {
            name: name.into(),
            size: Some(size),
            modified,
        }
    }

    /// A directory: what several names have in common up to a slash.
    pub fn directory(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            size: None,
            modified: None,
        }
    }
}

/// Why a store did not give what was asked for: what clients are answered, and for how long.
///
/// ```
/// use std::time::Duration;
/// use underpass_http::StoreError;
///
/// let busy = StoreError::unavailable("the store answers 503").retry_after(Duration::from_secs(5));
/// let error: std::io::Error = busy.into();
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    kind: StoreErrorKind,
    reason: String,
    retry_after: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoreErrorKind {
    Bad,
    Unavailable,
    TimedOut,
}

impl StoreError {
    /// The store cannot be reached, or its answer makes no sense: 502.
    pub fn bad(reason: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Bad, reason)
    }

    /// The store refuses to answer at the moment: 503.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::Unavailable, reason)
    }

    /// The store did not answer in time: 504.
    pub fn timed_out(reason: impl Into<String>) -> Self {
        Self::new(StoreErrorKind::TimedOut, reason)
    }

    fn new(kind: StoreErrorKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
            retry_after: None,
        }
    }

    /// When it may be worth asking again: the field `Retry-After`.
    #[must_use]
    pub fn retry_after(self, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..self
        }
    }

    /// The error of a store within an I/O error, if there is one.
    pub fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    pub(crate) fn with_reason(self, reason: String) -> Self {
        Self { reason, ..self }
    }

    pub(crate) fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    pub(crate) fn wait(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind {
            StoreErrorKind::Bad => io::ErrorKind::HostUnreachable,
            StoreErrorKind::Unavailable => io::ErrorKind::ConnectionRefused,
            StoreErrorKind::TimedOut => io::ErrorKind::TimedOut,
        };
        Self::new(kind, error)
    }
}
