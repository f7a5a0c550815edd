//! Why a transfer ended early, and how far it came.

use std::fmt;
use std::time::Duration;

use rustix::io::Errno;

use crate::layer::LayerError;
use crate::plan::PlanError;
use crate::receipt::Receipt;
use crate::route::Route;
use crate::units;

/// The error of a transfer that did not complete. It always says how many bytes were delivered.
///
/// The cause is private, so that causes can be added. Use the `is_` methods.
#[derive(Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Debug)]
struct Inner {
    cause: Cause,
    receipt: Option<Receipt>,
    /// What a peer with TLS had sent.
    heard: Vec<u8>,
}

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Cause {
    /// An end could not be inspected.
    Inspect(&'static str, Errno),
    /// No route serves.
    Plan(PlanError),
    /// The range reaches past the end of the source.
    Range { end: u64, size: u64 },
    /// A range that ends before it starts.
    EmptyRange { start: u64, end: u64 },
    /// A range of a stream that does not start at 0.
    NotSeekable,
    /// The source ended before the length it promised.
    Truncated {
        at: u64,
        size: Option<u64>,
        missing: u64,
    },
    /// A call failed, and no other route was left.
    Call { what: &'static str, errno: Errno },
    /// TLS found something wrong with the connection.
    Layer(LayerError),
    /// A route gave up, and no other was left.
    GaveUp { route: Route, why: &'static str },
    /// Nothing moved for this long.
    TimedOut(Duration),
    /// The caller cancelled.
    Cancelled,
    /// The sink went away while the source was sending nothing.
    SinkGone(Errno),
}

impl Error {
    pub(crate) fn new(cause: Cause) -> Self {
        Self {
            inner: Box::new(Inner {
                cause,
                receipt: None,
                heard: Vec::new(),
            }),
        }
    }

    pub(crate) fn with_receipt(cause: Cause, receipt: Receipt) -> Self {
        let mut error = Self::new(cause);
        error.inner.receipt = Some(receipt);
        error
    }

    /// With what the peer had sent.
    pub(super) fn hearing(mut self, heard: Vec<u8>) -> Self {
        self.inner.heard = heard;
        self
    }

    /// The cause, and what the peer had sent.
    pub(super) fn into_cause(self) -> (Cause, Vec<u8>) {
        (self.inner.cause, self.inner.heard)
    }

    /// Where a peer with TLS went away: the first bytes that it had sent, at most 64. It may have
    /// said why. Without TLS they are still in the socket.
    pub fn heard(&self) -> &[u8] {
        &self.inner.heard
    }

    /// Bytes that had been delivered to the sink when the transfer failed.
    pub fn bytes(&self) -> u64 {
        self.inner
            .receipt
            .as_ref()
            .map_or(0, |receipt| receipt.bytes)
    }

    /// The receipt up to the failure; `None` if the transfer never began.
    pub fn receipt(&self) -> Option<&Receipt> {
        self.inner.receipt.as_ref()
    }

    /// The kernel's error number, where one was the cause.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self.inner.cause {
            Cause::Inspect(_, errno) | Cause::Call { errno, .. } | Cause::SinkGone(errno) => {
                Some(errno.raw_os_error())
            }
            _ => None,
        }
    }

    /// The source ended before the length that it had at the start, or before the end of the range.
    pub fn is_source_truncated(&self) -> bool {
        matches!(self.inner.cause, Cause::Truncated { .. })
    }

    /// The peer or reader went away: `EPIPE`, `ECONNRESET` and their like. Also a TLS stream that
    /// was cut, or refused by the peer.
    pub fn is_disconnected(&self) -> bool {
        match self.inner.cause {
            Cause::SinkGone(_) => true,
            Cause::Layer(LayerError::Cut | LayerError::Alert(_)) => true,
            Cause::Call { errno, .. } => matches!(
                errno,
                Errno::PIPE
                    | Errno::CONNRESET
                    | Errno::CONNABORTED
                    | Errno::NOTCONN
                    | Errno::TIMEDOUT
                    | Errno::SHUTDOWN
                    | Errno::HOSTUNREACH
                    | Errno::NETUNREACH
                    | Errno::NETDOWN
                    | Errno::NETRESET
            ),
            _ => false,
        }
    }

    /// What TLS found wrong with the connection, where that was the cause: that the stream was cut
    /// short, an alert of the peer's, or a broken record.
    pub fn layer_error(&self) -> Option<LayerError> {
        match self.inner.cause {
            Cause::Layer(error) => Some(error),
            _ => None,
        }
    }

    /// Nothing moved for as long as [`idle_timeout`](crate::Transfer::idle_timeout) allows.
    pub fn is_timed_out(&self) -> bool {
        matches!(self.inner.cause, Cause::TimedOut(_))
    }

    /// The transfer was cancelled.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.inner.cause, Cause::Cancelled)
    }

    /// The transfer is impossible with these ends: no route serves, or the range reaches past the
    /// end.
    pub fn is_refused(&self) -> bool {
        matches!(
            self.inner.cause,
            Cause::Plan(_) | Cause::Range { .. } | Cause::EmptyRange { .. } | Cause::NotSeekable
        )
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.inner.receipt {
            None => write!(f, "{}", self.inner.cause),
            Some(receipt) => {
                let (source, sink) = (&receipt.source.name, &receipt.sink.name);
                let cause = &self.inner.cause;
                write!(f, "{source} -> {sink}: {cause}")?;
                if cause.says(receipt.bytes) {
                    return Ok(());
                }
                write!(f, ", after {}", units::count(receipt.bytes, "byte"))
            }
        }
    }
}

impl Cause {
    /// Whether its text says that these are the bytes that were delivered.
    fn says(&self, delivered: u64) -> bool {
        matches!(self, Self::Truncated { at, .. } if *at == delivered)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inspect(what, errno) => write!(f, "{what} cannot be inspected: {errno}"),
            Self::Plan(error) => write!(f, "{error}"),
            Self::Range { end, size } => {
                let (end, size) = (units::grouped(*end), units::grouped(*size));
                write!(
                    f,
                    "the range ends at byte {end}, past the source's end at {size}"
                )
            }
            Self::EmptyRange { start, end } => {
                write!(
                    f,
                    "the range ends at byte {end}, before its start at {start}"
                )
            }
            Self::NotSeekable => {
                f.write_str("the source is a stream, which a range can only enter at byte 0")
            }
            Self::Truncated { at, size, missing } => {
                let whole = units::count(at + missing, "byte");
                let (ended, at) = (*at, units::grouped(*at));
                write!(f, "the source ended after {at} of {whole}")?;
                match size {
                    Some(size) if *size != ended => {
                        write!(f, " (it has {} now)", units::grouped(*size))
                    }
                    _ => Ok(()),
                }
            }
            Self::Call { what, errno } => write!(f, "{what}: {errno}"),
            Self::Layer(error) => write!(f, "{error}"),
            Self::GaveUp { route, why } => write!(f, "{route}: {why}"),
            Self::TimedOut(after) => write!(f, "nothing moved for {}", units::duration(*after)),
            Self::Cancelled => f.write_str("cancelled"),
            Self::SinkGone(errno) => write!(f, "the sink went away: {errno}"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.inner.cause {
            Cause::Plan(error) => Some(error),
            Cause::Layer(error) => Some(error),
            Cause::Inspect(_, errno) | Cause::Call { errno, .. } | Cause::SinkGone(errno) => {
                Some(errno)
            }
            _ => None,
        }
    }
}
