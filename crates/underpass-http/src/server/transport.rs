//! What hyper writes to: slices of files leave by sendfile(2), everything else by send(2).
//!
//! hyper queues a body's chunks uncopied because [`is_write_vectored`](hyper::rt::Write::is_write_vectored), and hands
//! them on as slices whose addresses tell which file they are.

use std::convert::Infallible;
use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;
use hyper::rt::Write;
use tokio::sync::oneshot;

use crate::prepared::{self, PreparedResponse, PreparedResponses};
use crate::server::framing::{FramingCheck, HeadLimits};
use crate::server::observe::Exchange;
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, UpgradeAnswer};
use crate::sys::mapping::{FilePosition, file_position};
use crate::sys::truncated;

mod read;

pub(crate) struct Transport<S> {
    socket: S,
    state: Arc<ConnectionState>,
    framing: FramingCheck,
    prepared: Option<Arc<dyn PreparedResponses>>,
    /// The rest of the head and the body that [`prepared`] gave and the socket did not take.
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
    /// Something had to wait since all was sent the last time, so that a file may have changed since its response began.
    is_late: bool,
    /// Says that the transport is gone, whoever had it last.
    _dropped: oneshot::Sender<Infallible>,
}

/// Ready, with an error, once a transport is dropped.
pub(crate) type TransportDropped = oneshot::Receiver<Infallible>;

/// From this size on a file is sent with the socket corked. sendfile(2) hands over 64 KiB at a time, and without a cork
/// each of them ends in a push of its own: a file of 1 GiB went 1.25 times as fast with it, while for 100 KiB the two calls
/// to set it cost what it gives (see DESIGN.md).
const CORKED_FROM: usize = 256 << 10;

/// Bodies up to this size are copied behind their head: one slice is cheaper to send than two.
const JOINED_UP_TO: usize = 4 << 10;

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

    /// Sends from the front of `slices` until all are gone, the socket is full, or the turn is over.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.budget.is_spent() {
            self.is_late = true;
            self.state.end_turn(cx.waker());
            return Poll::Pending;
        }
        let file = slices
            .iter()
            .enumerate()
            .find_map(|(at, slice)| Some((at, slice, file_position(slice)?)));
        let memory = &slices[..file.map_or(slices.len(), |(at, ..)| at)];
        let len: usize = memory.iter().map(|slice| slice.len()).sum();
        match file {
            Some((_, slice, position)) if len == 0 => self.poll_send_file(cx, slice, position),
            None if len == 0 => Poll::Ready(Ok(0)),
            _ => {
                let mut sent = ready!(self.poll_send_memory(cx, memory, file.is_some()))?;
                // The file behind a head that has just gone with `MSG_MORE`, so that they share a segment. What cannot
                // go now is no failure: the head did.
                if let Some((_, slice, position)) = file
                    && sent == len
                    && let Poll::Ready(more) = self.poll_send_file(cx, slice, position)
                {
                    sent += more?;
                }
                Poll::Ready(Ok(sent))
            }
        }
    }

    fn poll_send_memory(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let sent = self.blockable(|socket| socket.poll_send(cx, slices, more));
        let sent = ready!(sent)?;
        self.state.stats().bytes_written.add(sent as u64);
        self.state.sent(sent);
        Poll::Ready(Ok(sent))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        slice: &[u8],
        position: FilePosition<'_>,
    ) -> Poll<io::Result<usize>> {
        let file = position.mapping.file().as_fd();
        let len = slice.len().min(self.state.budget.bytes());
        if self.is_late {
            self.check(position)?;
        }
        self.cork(len >= CORKED_FROM);
        let sent = self.blockable(|socket| socket.poll_send_file(cx, file, position.offset, len));
        match ready!(sent) {
            Ok(0) => Poll::Ready(Err(self.broke_off(truncated(position.offset)))),
            Ok(sent) => {
                self.is_late |= sent < slice.len();
                self.state.stats().bytes_sendfile.add(sent as u64);
                self.state.sent(sent);
                Poll::Ready(Ok(sent))
            }
            Err(error) if is_refusal(&error) => {
                self.state.stats().fallbacks_refused.add(1);
                self.poll_send_mapped(cx, &slice[..len], position)
            }
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// A file-backed slice written as memory: the socket or the file system takes no sendfile(2).
    fn poll_send_mapped(
        &mut self,
        cx: &mut Context<'_>,
        slice: &[u8],
        position: FilePosition<'_>,
    ) -> Poll<io::Result<usize>> {
        self.check(position)?;
        let sent = ready!(self.poll_send_memory(cx, &[IoSlice::new(slice)], false));
        // The kernel's own reading of pages that are gone is EFAULT; ours has found zeros.
        if matches!(&sent, Err(error) if error.raw_os_error() == Some(libc::EFAULT)) {
            return Poll::Ready(Err(self.broke_off(truncated(position.offset))));
        }
        self.check(position)?;
        Poll::Ready(sent)
    }

    /// Holds back segments that are not full until all is sent.
    fn cork(&mut self, wanted: bool) {
        if wanted && !self.is_corked {
            self.socket.set_cork(true);
            self.is_corked = true;
        }
    }

    /// All is sent.
    fn all_is_sent(&mut self) {
        self.is_late = false;
        if std::mem::take(&mut self.is_corked) {
            self.socket.set_cork(false);
        }
    }

    /// Whether the file is still what its response said that it is.
    fn check(&self, position: FilePosition<'_>) -> io::Result<()> {
        let checked = position.mapping.check(position.offset);
        checked.map_err(|error| self.broke_off(error))
    }

    fn broke_off(&self, error: io::Error) -> io::Error {
        self.state.stats().broke_off(&error);
        error
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

    /// Notes whether the peer takes what it is sent.
    fn blockable(
        &mut self,
        send: impl FnOnce(&mut S) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let result = send(&mut self.socket);
        self.is_late |= result.is_pending();
        self.state.timing.set_blocked(result.is_pending());
        result
    }
}

/// This pair of file and socket cannot do it, as opposed to the connection being broken.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
        || matches!(
            error.raw_os_error(),
            Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)
        )
}

impl<S: HttpSocket> Transport<S> {
    /// Answers a request that hyper does not see.
    fn answer(&mut self, cx: &mut Context<'_>, answer: PreparedResponse) -> io::Result<()> {
        let state = Arc::clone(&self.state);
        let log = &state.stream.log;
        state.begin_request(log.observer().map(|_| Exchange::begun(state.peer)));
        log.note(|exchange| {
            exchange.status = Some(StatusCode::OK);
            exchange.bytes = answer.body.len() as u64;
        });
        state.end_response();
        prepared::SCRATCH.with_borrow_mut(|head| {
            head.clear();
            prepared::write_head(&answer, head);
            let mut body = answer.body;
            if body.len() <= JOINED_UP_TO {
                head.extend_from_slice(&body);
                body.clear();
            }
            self.send_answer(cx, head, &body)
        })
    }

    /// Sends what goes now, and keeps the rest for later.
    fn send_answer(&mut self, cx: &mut Context<'_>, head: &[u8], body: &Bytes) -> io::Result<()> {
        let sent = match self.poll_send(cx, filled(&[IoSlice::new(head), IoSlice::new(body)])) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        let head_left = &head[sent.min(head.len())..];
        self.keep_unsent(
            Bytes::copy_from_slice(head_left),
            body.slice(sent.saturating_sub(head.len())..),
        );
        Ok(())
    }

    /// Sends what is left of an answer that hyper knows nothing of, and that comes before all that hyper has.
    fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.iter().any(|bytes| !bytes.is_empty()) {
            let [head, body] = self.unsent.clone();
            let slices = [IoSlice::new(&head), IoSlice::new(&body)];
            let sent = ready!(self.poll_send(cx, filled(&slices)))?;
            self.keep_unsent(
                head.slice(sent.min(head.len())..),
                body.slice(sent.saturating_sub(head.len())..),
            );
        }
        Poll::Ready(Ok(()))
    }

    /// What is left of an answer; if nothing is, it is through.
    fn keep_unsent(&mut self, head: Bytes, body: Bytes) {
        if head.is_empty() && body.is_empty() {
            self.all_is_sent();
            self.state.flushed();
        }
        self.unsent = [head, body];
    }
}

/// Less the empty slice at either end.
fn filled<'a, 'b>(slices: &'a [IoSlice<'b>; 2]) -> &'a [IoSlice<'b>] {
    match (slices[0].is_empty(), slices[1].is_empty()) {
        (true, _) => &slices[1..],
        (_, true) => &slices[..1],
        _ => slices,
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

    /// Closing a socket while bytes are unread resets it, and then what the peer has not read yet may be lost: so what it
    /// still sends is read, where more is known to come until it closes.
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
