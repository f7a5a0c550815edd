//! Why a store did not answer as asked.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// An error of the store or of the cache. It is cheap to clone, because everybody who waits for one
/// request gets the same error.
///
/// Its text is one line: what failed, on what, why, and where it helps, what to do.
#[derive(Clone, Debug)]
pub struct StoreError(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
}

/// The kind of an error, and why, before it is known what could not be done.
pub(crate) type Failure = (ErrorKind, String);

/// What kind of error it is. The names are stable: they can be labels of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address, a setting or a key is not valid.
    Invalid,
    /// There is no such object.
    NotFound,
    /// There is no such bucket.
    NoSuchBucket,
    /// The store does not know the credentials, or the signature is wrong.
    Credentials,
    /// The store knows the credentials, but they may not do this.
    Denied,
    /// The clocks of this machine and of the store differ by too much for signatures.
    ClockSkew,
    /// A condition was not met: the object exists already, or is another version.
    Precondition,
    /// The object was replaced while it was being read.
    Changed,
    /// The object's file was taken out of the cache while parts of it were missing. Ask the cache
    /// for the object again: the same version goes on in a new file.
    Evicted,
    /// The store does not do what was asked, such as ranges or conditional writes.
    Unsupported,
    /// The store asked to be left alone for a while (429, 503).
    Throttled,
    /// The store answered, but with a failure of its own or with something that is not S3.
    Store,
    /// The store was not reached, or the connection broke.
    Unreachable,
    /// The store took too long.
    TimedOut,
    /// Too many requests failed one after the other: none is sent for a moment.
    CircuitOpen,
    /// No room is left on the disk of the cache.
    DiskFull,
    /// The disk of the cache failed.
    Disk,
    /// Something failed here.
    Internal,
}

impl ErrorKind {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::Invalid,
        Self::NotFound,
        Self::NoSuchBucket,
        Self::Credentials,
        Self::Denied,
        Self::ClockSkew,
        Self::Precondition,
        Self::Changed,
        Self::Evicted,
        Self::Unsupported,
        Self::Throttled,
        Self::Store,
        Self::Unreachable,
        Self::TimedOut,
        Self::CircuitOpen,
        Self::DiskFull,
        Self::Disk,
        Self::Internal,
    ];

    /// `not-found`
    pub fn name(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::NoSuchBucket => "no-such-bucket",
            Self::Credentials => "credentials",
            Self::Denied => "denied",
            Self::ClockSkew => "clock-skew",
            Self::Precondition => "precondition",
            Self::Changed => "changed",
            Self::Evicted => "evicted",
            Self::Unsupported => "unsupported",
            Self::Throttled => "throttled",
            Self::Store => "store",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed-out",
            Self::CircuitOpen => "circuit-open",
            Self::DiskFull => "disk-full",
            Self::Disk => "disk",
            Self::Internal => "internal",
        }
    }

    /// Whether the same request may succeed a moment later, without anybody changing anything.
    pub fn is_transient(self) -> bool {
        matches!(
            self,
            Self::Throttled | Self::Store | Self::Unreachable | Self::TimedOut | Self::CircuitOpen
        )
    }
}

impl StoreError {
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            retry_after: None,
        }))
    }

    pub(crate) fn throttled(message: String, retry_after: Option<Duration>) -> Self {
        Self(Arc::new(Inner {
            kind: ErrorKind::Throttled,
            message,
            retry_after,
        }))
    }

    pub(crate) fn disk(action: &str, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::DiskFull,
            _ => ErrorKind::Disk,
        };
        Self::new(kind, format!("{action}: {error}"))
    }

    /// What kind of error it is.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// How long the store asked to be left alone (`Retry-After`).
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        self.kind() == ErrorKind::NotFound
    }

    /// Whether the object was replaced while it was being read.
    pub fn is_changed(&self) -> bool {
        self.kind() == ErrorKind::Changed
    }

    /// Whether the cache must be asked for the object again, because its file was evicted.
    pub fn is_evicted(&self) -> bool {
        self.kind() == ErrorKind::Evicted
    }

    /// Whether the same request may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        self.kind().is_transient()
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for StoreError {}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            ErrorKind::NotFound | ErrorKind::NoSuchBucket => io::ErrorKind::NotFound,
            ErrorKind::Denied | ErrorKind::Credentials | ErrorKind::ClockSkew => {
                io::ErrorKind::PermissionDenied
            }
            ErrorKind::TimedOut => io::ErrorKind::TimedOut,
            ErrorKind::DiskFull => io::ErrorKind::StorageFull,
            ErrorKind::Invalid => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            _ => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}
