//! A connection of a tokio runtime, over TCP or a Unix socket.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

use crate::layer::Layer;
use crate::step::Step;
use crate::wire::{PLAIN, Port, Wire};

/// A stream connection of a tokio runtime, of either kind.
#[derive(Debug)]
pub enum StreamSocket {
    /// A TCP connection. For small messages to pass without delay, set `TCP_NODELAY`.
    Tcp(TcpStream),
    /// A Unix stream connection.
    Unix(UnixStream),
    /// A TCP connection with TLS on it.
    Tls(TlsSocket),
}

/// A TCP connection of a tokio runtime, with TLS on it.
#[derive(Debug)]
pub struct TlsSocket {
    socket: TcpStream,
    layer: Arc<dyn Layer>,
    wire: Wire,
}

impl TlsSocket {
    /// `layer` is the TLS of `socket`, whose handshake is done.
    pub fn new(socket: TcpStream, layer: Arc<dyn Layer>) -> Self {
        let wire = Wire::of(Arc::clone(&layer));
        Self {
            socket,
            layer,
            wire,
        }
    }

    /// The socket. What it reads and writes by itself is not plain text.
    pub fn tcp(&self) -> &TcpStream {
        &self.socket
    }

    /// Its TLS.
    pub fn layer(&self) -> &Arc<dyn Layer> {
        &self.layer
    }
}

impl StreamSocket {
    /// Its TLS, if it has any.
    pub fn layer(&self) -> Option<&Arc<dyn Layer>> {
        match self {
            Self::Tls(socket) => Some(socket.layer()),
            Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The TCP socket below; `None` over a Unix socket.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) | Self::Tls(TlsSocket { socket, .. }) => Some(socket),
            Self::Unix(_) => None,
        }
    }

    /// The descriptor, and what lies on it.
    pub(crate) fn port(&self) -> Port<'_> {
        let wire = match self {
            Self::Tls(socket) => &socket.wire,
            Self::Tcp(_) | Self::Unix(_) => &PLAIN,
        };
        Port::new(self.as_fd(), wire)
    }

    /// Makes a step when the socket is ready. A step that would block clears that readiness, but
    /// not a newer one.
    pub(crate) fn poll_step(
        &self,
        cx: &mut Context<'_>,
        interest: Interest,
        step: impl FnOnce() -> Step,
    ) -> Poll<Step> {
        let ready = ready!(match (self, interest.is_readable()) {
            (Self::Tcp(socket) | Self::Tls(TlsSocket { socket, .. }), true) => {
                socket.poll_read_ready(cx)
            }
            (Self::Tcp(socket) | Self::Tls(TlsSocket { socket, .. }), false) => {
                socket.poll_write_ready(cx)
            }
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
            Self::Tcp(socket) | Self::Tls(TlsSocket { socket, .. }) => {
                socket.try_io(interest, call)
            }
            Self::Unix(socket) => socket.try_io(interest, call),
        };
        Poll::Ready(did)
    }

    /// Waits until the kernel reports an error of this socket, or the runtime is shut down.
    pub(crate) async fn failing(&self) {
        let _ = match self {
            Self::Tcp(socket) | Self::Tls(TlsSocket { socket, .. }) => {
                socket.ready(Interest::ERROR).await
            }
            Self::Unix(socket) => socket.ready(Interest::ERROR).await,
        };
    }
}

impl AsFd for StreamSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) | Self::Tls(TlsSocket { socket, .. }) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

impl From<TcpStream> for StreamSocket {
    fn from(socket: TcpStream) -> Self {
        Self::Tcp(socket)
    }
}

impl From<TlsSocket> for StreamSocket {
    fn from(socket: TlsSocket) -> Self {
        Self::Tls(socket)
    }
}

impl From<UnixStream> for StreamSocket {
    fn from(socket: UnixStream) -> Self {
        Self::Unix(socket)
    }
}
