//! Errors of relays and fan-outs.

use std::{fmt, io};

use rustix::io::Errno;

use crate::errno;
use crate::layer::{CallError, LayerError};

/// Why a relay or a fan-out could not begin with a descriptor.
///
/// ```
/// use underpass::fan_out::{FanOutSettings, Hub};
///
/// let hub = Hub::new(FanOutSettings::new());
/// let directory = std::fs::File::open("/")?;
/// assert!(hub.source(directory).unwrap_err().is_not_a_stream());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct StreamError(StreamCause);

#[derive(Debug)]
pub(crate) enum StreamCause {
    /// A system call on the descriptor failed.
    Call(io::Error),
    /// It is a directory, or a socket for messages.
    NotAStream,
    /// The stream has, or had, a source.
    SourceTaken,
}

impl StreamError {
    pub(crate) fn call(error: impl Into<io::Error>) -> Self {
        Self(StreamCause::Call(error.into()))
    }

    /// The descriptor carries no stream of bytes: it is a directory, a socket for messages, or no
    /// socket where one is needed.
    pub fn is_not_a_stream(&self) -> bool {
        match &self.0 {
            StreamCause::NotAStream => true,
            StreamCause::Call(error) => error.raw_os_error() == Some(libc::ENOTSOCK),
            StreamCause::SourceTaken => false,
        }
    }

    /// The stream has, or had, another source.
    pub fn is_source_taken(&self) -> bool {
        matches!(self.0, StreamCause::SourceTaken)
    }

    /// The error number; `EINVAL` for what carries no stream, `EALREADY` for a second source.
    pub fn raw_os_error(&self) -> Option<i32> {
        match &self.0 {
            StreamCause::Call(error) => error.raw_os_error(),
            StreamCause::NotAStream => Some(libc::EINVAL),
            StreamCause::SourceTaken => Some(libc::EALREADY),
        }
    }
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0, self.raw_os_error()) {
            (StreamCause::Call(error), _) => error.fmt(f),
            (_, errno) => io::Error::from_raw_os_error(errno.unwrap_or_default()).fmt(f),
        }
    }
}

impl std::error::Error for StreamError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            StreamCause::Call(error) => Some(error),
            StreamCause::NotAStream | StreamCause::SourceTaken => None,
        }
    }
}

impl From<StreamCause> for StreamError {
    fn from(cause: StreamCause) -> Self {
        Self(cause)
    }
}

impl From<StreamError> for io::Error {
    fn from(error: StreamError) -> Self {
        match (error.raw_os_error(), error.0) {
            (_, StreamCause::Call(error)) => error,
            (errno, _) => Self::from_raw_os_error(errno.unwrap_or_default()),
        }
    }
}

/// Why a peer is gone: the error of the system call that found it, or what its TLS found.
///
/// `Display` says it in words, such as `Connection reset by peer (os error 104)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerError(CallError);

impl PeerError {
    pub(crate) fn new(error: impl Into<CallError>) -> Self {
        Self(error.into())
    }

    /// What TLS found wrong with the connection, where that was it.
    pub fn layer_error(&self) -> Option<LayerError> {
        match self.0 {
            CallError::Layer(error) => Some(error),
            CallError::Errno(_) => None,
        }
    }

    /// The peer reset the connection (`ECONNRESET`), or closed it while it was being written to
    /// (`EPIPE`).
    pub fn is_disconnected(&self) -> bool {
        matches!(
            self.0.errno(),
            Errno::CONNRESET | Errno::PIPE | Errno::CONNABORTED
        )
    }

    /// The network gave up on the peer (`ETIMEDOUT`), or has no way to it.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self.0.errno(),
            Errno::TIMEDOUT
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::NETDOWN
                | Errno::NETRESET
        )
    }

    /// The error number; `EPROTO` for what TLS found.
    pub fn raw_os_error(&self) -> i32 {
        self.0.errno().raw_os_error()
    }

    /// The symbolic name, such as `ECONNRESET`; for what TLS found [`LayerError::name`], such as
    /// `TLS_CUT`.
    pub fn name(&self) -> String {
        match self.0 {
            CallError::Errno(errno) => errno::name(errno),
            CallError::Layer(error) => error.name().to_owned(),
        }
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        io::Error::from(self.0).fmt(f)
    }
}

impl std::error::Error for PeerError {}

impl From<PeerError> for io::Error {
    fn from(error: PeerError) -> Self {
        error.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_they_are() {
        let reset = PeerError::new(Errno::CONNRESET);
        assert!(reset.is_disconnected() && !reset.is_unreachable());
        assert_eq!(reset.name(), "ECONNRESET");
        assert_eq!(
            reset.to_string(),
            io::Error::from_raw_os_error(libc::ECONNRESET).to_string()
        );
        let table = [
            (
                StreamError::from(StreamCause::NotAStream),
                libc::EINVAL,
                true,
            ),
            (
                StreamError::from(StreamCause::SourceTaken),
                libc::EALREADY,
                false,
            ),
            (StreamError::call(Errno::NOTSOCK), libc::ENOTSOCK, true),
        ];
        for (error, number, not_a_stream) in table {
            assert_eq!(error.is_not_a_stream(), not_a_stream, "{error}");
            assert_eq!(error.is_source_taken(), number == libc::EALREADY);
            assert_eq!(error.raw_os_error(), Some(number));
            assert_eq!(io::Error::from(error).raw_os_error(), Some(number));
        }
    }
}
