//! The transport of a connection that speaks HTTP/2.
//!
//! hyper flushes after each frame (pitfall 49). So a flush does nothing here: the connection sends
//! what was collected at the end of its turn, or when it is enough for a call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};

use super::frame;
use super::incoming::Incoming;
use super::outbox::{Ends, Outbox, SLICES};
use crate::clock;
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, Streams};
use crate::server::transport::poll_discard;
use crate::sys::mapping::check_slices;
use crate::sys::read_buf::{self, Read as Came};

/// How much is sent in one call: eight full records of TLS, the batch of `underpass-tls`.
const BATCH: usize = 128 << 10;

/// How much is read at a time to complete the head of a frame.
const HEAD_READ: usize = 4 << 10;

pub(super) struct Transport<S> {
    socket: S,
    state: Arc<ConnectionState>,
    streams: Arc<Streams>,
    incoming: Incoming,
    /// Bytes that hyper is to read before others, and how many of them it has read.
    ready: Vec<u8>,
    ready_read: usize,
    outbox: Outbox,
    /// Data that was never sent, to be given back to the connection's window.
    window: u32,
    /// A GOAWAY with an error was sent, or the sending side is closed.
    is_over: bool,
    is_shut: bool,
    /// What sending failed with.
    failure: Option<io::Error>,
}

/// hyper has one of these, and the connection another.
pub(super) struct SharedTransport<S>(Arc<Mutex<Transport<S>>>);

impl<S> Clone for SharedTransport<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> SharedTransport<S> {
    pub(super) fn new(transport: Transport<S>) -> Self {
        Self(Arc::new(Mutex::new(transport)))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Transport<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: HttpSocket> Transport<S> {
    pub(super) fn new(socket: S, state: Arc<ConnectionState>, streams: Arc<Streams>) -> Self {
        Self {
            socket,
            state,
            streams,
            incoming: Incoming::new(clock::now()),
            ready: Vec::new(),
            ready_read: 0,
            outbox: Outbox::default(),
            window: 0,
            is_over: false,
            is_shut: false,
            failure: None,
        }
    }

    /// Sends everything that was collected.
    pub(super) fn poll_send_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx, 0))?;
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.state.keeps(self.socket.unsent());
        self.state.timing.set_blocked(flushed.is_pending());
        flushed
    }

    /// Ends a turn: sends what was collected in it.
    pub(super) fn end_turn(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_send_all(cx) {
            // hyper is told when it reads.
            self.failure = Some(error);
            cx.waker().wake_by_ref();
        }
        self.give_back(cx);
        if self.streams.is_empty() {
            self.state.stream.restart();
        }
    }

    /// Sends until at most `left` bytes are left.
    fn poll_send(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<io::Result<()>> {
        if self.outbox.len() <= left {
            return Poll::Ready(Ok(()));
        }
        self.check(cx);
        while self.outbox.len() > left {
            let sent = self.poll_send_some(cx);
            let Poll::Ready(sent) = sent else {
                self.outbox
                    .keep_first()
                    .map_err(|error| self.broke_off(error))?;
                return Poll::Pending;
            };
            self.sent(sent?);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_send_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.state.budget.is_spent() {
            self.state.end_turn(cx.waker());
            return Poll::Pending;
        }
        let mut slices = Vec::with_capacity(SLICES);
        self.outbox.slices(BATCH, &mut slices);
        let encrypts = self.socket.encrypts();
        let mut changed = false;
        let sent = if encrypts {
            let mut check = || check_slices(&slices).inspect_err(|_| changed = true);
            self.socket.poll_encrypt(cx, &slices, &mut check)
        } else {
            self.socket.poll_send(cx, &slices, false)
        };
        self.state.keeps(self.socket.unsent());
        self.state.timing.set_blocked(sent.is_pending());
        let sent = match ready!(sent) {
            Err(error) if changed => return Poll::Ready(Err(self.broke_off(error))),
            sent => sent?,
        };
        Poll::Ready(Ok(sent))
    }

    /// Looks for files that have changed before their frames are sent. Their streams are reset, and
    /// the others go on.
    fn check(&mut self, cx: &mut Context<'_>) {
        let (state, streams) = (&self.state, &self.streams);
        self.outbox.check(|stream, error| {
            state.stats().broke_off(error);
            if let Some(stream) = streams.get(stream) {
                state.stream_failed(&stream, error);
                stream.cut();
            }
        });
        self.give_back(cx);
    }

    /// Gives what was left out back to the connection's window, when hyper reads next.
    fn give_back(&mut self, cx: &mut Context<'_>) {
        let left_out = self.outbox.take_left_out();
        if left_out > 0 {
            self.window += left_out;
            cx.waker().wake_by_ref();
        }
    }

    fn sent(&mut self, count: usize) {
        self.state.sent(count);
        let now = self.state.timing.now();
        let (streams, incoming) = (&self.streams, &mut self.incoming);
        let mut of_objects = 0;
        let of_files = self.outbox.advance(count, |ends| match ends {
            Ends::Data(stream, bytes) => {
                incoming.sent_data();
                if streams.sent(stream, bytes, now) {
                    of_objects += bytes;
                }
            }
            Ends::Response(stream, bytes) => {
                if streams.complete(stream) {
                    of_objects += bytes;
                }
            }
            Ends::Stream(stream) => streams.reset(stream),
            Ends::Above(last) => streams.ignore_above(last),
        });
        let stats = self.state.stats();
        stats.bytes_of_objects.add(of_objects as u64);
        if self.socket.encrypts() {
            stats.bytes_encrypted.add(count as u64);
        } else {
            stats.bytes_mapped.add(of_files as u64);
            stats.bytes_written.add((count - of_files) as u64);
        }
    }

    fn broke_off(&self, error: io::Error) -> io::Error {
        self.state.stats().broke_off(&error);
        error
    }

    /// Says that the connection ends, with an error code, and that nothing more is done.
    pub(super) fn go_away(&mut self, cx: &mut Context<'_>, code: u32) {
        if !std::mem::replace(&mut self.is_over, true) {
            let frame = frame::go_away(self.incoming.last_stream(), code);
            self.outbox.put_own(&frame, None);
            // It is said if there is room for it.
            let _ = self.poll_send_all(cx);
        }
    }

    /// Says that the connection ends, as far as that can be said at once. In HTTP/2 it is never
    /// taken for the end of a response: frames say where those end.
    pub(super) fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        self.go_away(cx, frame::NO_ERROR);
        if !self.is_shut && matches!(self.poll_send_all(cx), Poll::Ready(Ok(()))) {
            // The connection is over, whether the peer hears of it or not.
            let _ = Pin::new(&mut self.socket).poll_shutdown(cx);
        }
    }
}

/// Reading.
impl<S: HttpSocket> Transport<S> {
    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if let Some(error) = self.failure.take() {
                return Poll::Ready(Err(error));
            }
            if let Some(code) = self.refusal() {
                return self.poll_refused(cx, code);
            }
            if self.state.budget.is_spent() {
                self.state.end_turn(cx.waker());
                return Poll::Pending;
            }
            if self.window > 0 && self.ready.is_empty() && self.incoming.is_between_frames() {
                let given = std::mem::take(&mut self.window);
                let frame = frame::with_number(frame::WINDOW_UPDATE, 0, given);
                self.ready.extend_from_slice(&frame);
            }
            if !self.ready.is_empty() {
                self.read_ready(buffer);
                return Poll::Ready(Ok(()));
            }
            if self.incoming.has_partial_head() {
                ready!(self.poll_complete_head(cx))?;
                continue;
            }
            let (state, streams) = (&self.state, &self.streams);
            let (incoming, rest) = (&mut self.incoming, &mut self.ready);
            let (now, last) = (state.timing.now(), incoming.last_stream());
            let read = read_buf::poll_read(Pin::new(&mut self.socket), cx, buffer, |bytes| {
                let seen = incoming.follow(bytes, streams, now, rest);
                let is_new = incoming.last_stream() > last;
                state.received_frames(bytes.len(), incoming.is_in_head(), is_new);
                seen
            });
            let Came { came, seen } = ready!(read)?;
            if seen > 0 || came == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// The error code, if the client floods the server, or has sent a head that is none.
    fn refusal(&self) -> Option<u32> {
        let flood = self.incoming.is_flood();
        let flood = flood.then_some(frame::ENHANCE_YOUR_CALM);
        flood.or_else(|| self.state.broken_off())
    }

    /// Ends the connection: says why, and waits until that has arrived.
    fn poll_refused(&mut self, cx: &mut Context<'_>, code: u32) -> Poll<io::Result<()>> {
        let is_flood = code == frame::ENHANCE_YOUR_CALM;
        if is_flood && !self.is_over {
            self.state.stats().http2_floods.add(1);
        }
        self.go_away(cx, code);
        // If that fails, the client is gone.
        let _ = ready!(self.poll_shutdown(cx));
        let reason = if is_flood {
            "too many frames that ask for nothing"
        } else {
            "the head of a request is not complete"
        };
        let error = io::Error::new(io::ErrorKind::InvalidData, reason);
        Poll::Ready(Err(error))
    }

    /// Passes bytes to hyper that were put between others.
    fn read_ready(&mut self, buffer: &mut ReadBufCursor<'_>) {
        let rest = &self.ready[self.ready_read..];
        let count = rest.len().min(buffer.remaining());
        buffer.put_slice(&rest[..count]);
        self.ready_read += count;
        if self.ready_read == self.ready.len() {
            // No idle connection holds a buffer.
            self.ready = Vec::new();
            self.ready_read = 0;
        }
    }

    /// Reads more of a frame's head.
    fn poll_complete_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; HEAD_READ];
        let mut buffer = tokio::io::ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        let came = buffer.filled();
        if came.is_empty() {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        let (now, last) = (self.state.timing.now(), self.incoming.last_stream());
        self.incoming
            .follow_partial(came, &self.streams, now, &mut self.ready);
        let is_new = self.incoming.last_stream() > last;
        self.state
            .received_frames(came.len(), self.incoming.is_in_head(), is_new);
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread bytes resets the connection, and then the peer may lose the
    /// last frames. So what a client still sends is read and discarded until it closes.
    fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send_all(cx))?;
        if !self.is_shut {
            ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
            self.is_shut = true;
        }
        match poll_discard(&mut self.socket, &self.state, cx) {
            Poll::Pending => {
                self.state.timing.linger();
                Poll::Pending
            }
            Poll::Ready(_) => Poll::Ready(Ok(())),
        }
    }
}

impl<S: HttpSocket> Read for SharedTransport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        self.lock().poll_read(cx, &mut buffer)
    }
}

impl<S: HttpSocket> Write for SharedTransport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut transport = self.lock();
        if transport.is_over {
            // Nothing follows a GOAWAY. An error would end the connection before that has arrived.
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        if transport.outbox.len() >= BATCH {
            ready!(transport.poll_send(cx, 0))?;
        }
        let Transport {
            outbox, streams, ..
        } = &mut *transport;
        Poll::Ready(Ok(outbox.put(slices, streams)))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.lock().poll_shutdown(cx)
    }
}
