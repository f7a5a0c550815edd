//! The transport that hyper reads from and writes to.
//!
//! hyper queues the frames of a body without copying, because
//! [`is_write_vectored`](hyper::rt::Write::is_write_vectored) returns true, and passes them on as
//! slices. The address of a slice tells which file it is part of.

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

mod encrypt;
mod read;
mod respond;
mod send;

pub(crate) struct Transport<S> {
    socket: S,
    state: Arc<ConnectionState>,
    framing: FramingCheck,
    prepared: Option<Arc<dyn PreparedResponses>>,
    /// The rest of the head and the body of a prepared response: the bytes that the socket did not
    /// take yet.
    unsent: [Bytes; 2],
    /// A prepared response is complete when the socket has flushed it.
    is_unflushed: bool,
    /// Bytes that were read and not yet passed to hyper: first those that hyper may see, then the
    /// beginning of a head.
    held: Vec<u8>,
    /// How many bytes of `held` hyper may see.
    released: usize,
    /// What reading failed with while hyper rested.
    failure: Option<io::Error>,
    /// The sending side is closed.
    is_shut: bool,
    /// Whether hyper was given the request that stands for a refused one.
    is_refused: bool,
    is_corked: bool,
    /// Whether sending had to wait since this response began. Then its file may have changed and
    /// has to be checked.
    may_have_changed: bool,
    /// Tells the connection when the transport is dropped, also after an upgrade.
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
            is_unflushed: false,
            is_shut: false,
            held: Vec::new(),
            released: 0,
            failure: None,
            is_refused: false,
            is_corked: false,
            may_have_changed: false,
            _dropped: sender,
        };
        (this, dropped)
    }

    /// Says that the connection ends, as far as that can be said at once; with TLS, by
    /// close_notify. After a part of a response nothing is said, because the peer could take it for
    /// the end of the response.
    pub(crate) fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        let stream = &self.state.stream;
        if !self.is_shut && (stream.is_idle() || stream.sent() == 0) {
            // The connection is over, whether the peer hears of it or not.
            let _ = Pin::new(&mut self.socket).poll_shutdown(cx);
        }
    }

    /// Sends the bytes that the socket keeps in this process, such as encrypted ones.
    fn poll_flush_socket(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.state.keeps(self.socket.unsent());
        if flushed.is_pending() {
            self.state.timing.set_blocked(true);
        }
        flushed
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
        ready!(this.poll_flush_socket(cx))?;
        this.state.flushed();
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread bytes resets the connection, and then the peer may lose the end
    /// of the response. So if more of a request is to come, it is read and discarded until the peer
    /// closes.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_unsent(cx))?;
        if !this.is_shut {
            ready!(Pin::new(&mut this.socket).poll_shutdown(cx))?;
            this.is_shut = true;
        }
        if this.state.stream.upgrade() == UpgradeAnswer::Accepted {
            // The connection belongs to the application now, which itself reads what the peer still
            // sends.
            return Poll::Ready(Ok(()));
        }
        match poll_discard(&mut this.socket, &this.state, cx) {
            Poll::Pending if !this.framing.is_complete() => {
                this.state.timing.linger();
                Poll::Pending
            }
            // The response was sent, so errors do not matter any more.
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Reads to the end of the stream and discards the bytes.
pub(super) fn poll_discard<S: HttpSocket>(
    socket: &mut S,
    state: &ConnectionState,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut bytes = [0; 16 << 10];
    loop {
        let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut buffer))?;
        if buffer.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
        state.timing.discarded();
    }
}
