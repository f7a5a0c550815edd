//! What hyper reads from and writes to.
//!
//! hyper queues a body's chunks uncopied because
//! [`is_write_vectored`](hyper::rt::Write::is_write_vectored), and hands them on as slices whose
//! addresses tell which file they are.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::Write;
use tokio::sync::oneshot;

use crate::prepared::PreparedResponses;
use crate::server::framing::{FramingCheck, HeadLimits};
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, UpgradeAnswer};

mod read;
mod respond;
mod send;

pub(crate) struct Transport<S> {
    socket: S,
    state: Arc<ConnectionState>,
    framing: FramingCheck,
    prepared: Option<Arc<dyn PreparedResponses>>,
    /// The rest of the head and the body of a prepared response, as far as the socket did not take
    /// them.
    unsent: [Bytes; 2],
    /// What was read and hyper has not seen: the beginning of a head, behind bytes that it may see.
    held: Vec<u8>,
    /// How many of these hyper may see.
    released: usize,
    /// Nothing will be sent any more.
    is_shut: bool,
    /// hyper was given what stands for a refused head.
    is_refused: bool,
    is_corked: bool,
    /// Something had to wait since all was sent the last time, so that a file may have changed
    /// since its response began.
    is_late: bool,
    /// Says that the transport is gone, whoever had it last.
    _dropped: oneshot::Sender<Infallible>,
}

/// Ready, with an error, once a transport is dropped.
pub(crate) type TransportDropped = oneshot::Receiver<Infallible>;

impl<S: HttpSocket> Transport<S> {
    pub(crate) fn new(
        socket: S,
        state: Arc<ConnectionState>,
        prepared: Option<Arc<dyn PreparedResponses>>,
        head_limits: HeadLimits,
    ) -> (Self, TransportDropped) {
        let (sender, dropped) = oneshot::channel();
        let this = Self {
            socket,
            state,
            framing: FramingCheck::new(head_limits),
            prepared,
            unsent: Default::default(),
            is_shut: false,
            held: Vec::new(),
            released: 0,
            is_refused: false,
            is_corked: false,
            is_late: false,
            _dropped: sender,
        };
        (this, dropped)
    }

    /// Reads to the end of the stream, for nobody.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; 16 << 10];
        loop {
            let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.state.timing.discarded();
        }
    }
}

impl<S: HttpSocket> Write for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        this.all_is_sent();
        ready!(Pin::new(&mut this.socket).poll_flush(cx))?;
        this.state.flushed();
        Poll::Ready(Ok(()))
    }

    /// Closing a socket while bytes are unread resets it, and then what the peer has not read yet
    /// may be lost: so what it still sends is read, where more is known to come until it closes.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        if !this.is_shut {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if this.state.stream.upgrade() == UpgradeAnswer::Accepted {
            // What the peer still sends is for whoever took the connection.
            return Poll::Ready(Ok(()));
        }
        match this.poll_discard(cx) {
            Poll::Pending if !this.framing.is_complete() => {
                this.state.timing.linger();
                Poll::Pending
            }
            // Whatever it ended in, the response is sent.
            _ => Poll::Ready(Ok(())),
        }
    }
}
