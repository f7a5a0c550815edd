//! A connection of a tokio runtime, over TCP or a Unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::step::Step;

/// A stream connection of a tokio runtime, of either kind.
#[derive(Debug)]
pub enum StreamSocket {
    /// A TCP connection. For small messages to pass without delay, set `TCP_NODELAY`.
    Tcp(TcpStream),
    /// A Unix stream connection.
    Unix(UnixStream),
}

impl StreamSocket {
    /// Makes a step when the socket is ready. A step that would block clears that readiness, but
    /// not a newer one.
    pub(crate) fn poll_step(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        step: impl FnOnce() -> Step,
    ) -> Poll<Step> {
        let ready = ready!(match (self, interest.is_readable()) {
            (Self::Tcp(socket), true) => socket.poll_read_ready(cx),
            (Self::Tcp(socket), false) => socket.poll_write_ready(cx),
            (Self::Unix(socket), true) => socket.poll_read_ready(cx),
            (Self::Unix(socket), false) => socket.poll_write_ready(cx),
        });
        if ready.is_err() {
            // The runtime is shutting down, and this task with it.
            return Poll::Pending;
        }
        let mut did = Step::Moved(0);
        let call = || {
            did = step();
            match did {
                Step::Blocked(_) => Err(io::Error::from(io::ErrorKind::WouldBlock)),
                Step::Moved(_) | Step::Done => Ok(()),
            }
        };
        // `did` has the result.
        let _ = match self {
            Self::Tcp(socket) => socket.try_io(interest, call),
            Self::Unix(socket) => socket.try_io(interest, call),
        };
        Poll::Ready(did)
    }

    /// Waits until the kernel reports an error of this socket, or the runtime is shut down.
    pub(crate) async fn failing(&self) {
        let _ = match self {
            Self::Tcp(socket) => socket.ready(Interest::ERROR).await,
            Self::Unix(socket) => socket.ready(Interest::ERROR).await,
        };
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl From<TcpStream> for StreamSocket {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<UnixStream> for StreamSocket {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}
