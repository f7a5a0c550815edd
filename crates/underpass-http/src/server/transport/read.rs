//! Reading: hyper sees what the framing check accepts, and only complete heads.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBuf, ReadBufCursor};

use super::Transport;
use crate::prepared;
use crate::server::framing::{FramingCheck, REFUSED_HEAD};
use crate::server::refusal::Refusal;
use crate::server::socket::HttpSocket;
use crate::server::state::{ConnectionState, MalformedRequest};
use crate::sys::read_buf::{self, Read as Came};

/// How many bytes of a malformed request are kept for logs.
const MAX_MALFORMED_LINE: usize = 256;

/// How much is read at a time to complete a head.
const HEAD_READ: usize = 4 << 10;

/// How much is read of a request before hyper begins: as much as hyper itself reads first.
const FIRST_READ: usize = 8 << 10;

impl<S: HttpSocket> Read for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            ready!(this.poll_unsent(cx))?;
            if this.state.budget.is_spent() {
                this.state.end_turn(cx.waker());
                return Poll::Pending;
            }
            if this.released > 0 {
                this.release(&mut buffer);
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = this.failure.take() {
                return Poll::Ready(Err(error));
            }
            if let Some(refusal) = this.framing.refusal() {
                return this.poll_refused(refusal, &mut buffer);
            }
            if !this.held.is_empty() {
                ready!(this.poll_read_held(cx))?;
                continue;
            }
            let mut response = None;
            let (state, framing, prepared) = (&this.state, &mut this.framing, &this.prepared);
            let held = &mut this.held;
            let read = read_buf::poll_read(Pin::new(&mut this.socket), cx, &mut buffer, |bytes| {
                let begins = framing.is_between_requests();
                let seen = check(framing, state, bytes, bytes.len());
                held.extend_from_slice(&bytes[seen..]);
                if let Some(prepared) = prepared
                    && begins
                    && framing.is_between_requests()
                    && state.stream.is_idle()
                {
                    response = prepared::recognise(bytes, &**prepared);
                }
                if response.is_none() { seen } else { 0 }
            });
            let Came { came, seen } = ready!(read)?;
            if let Some(response) = response {
                this.respond(cx, response)?;
            } else if seen > 0 || came == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

/// Runs the framing check on bytes, of which `new` have just arrived, and updates the connection's
/// state. Returns how many bytes hyper may see.
fn check(
    framing: &mut FramingCheck,
    state: &ConnectionState,
    bytes: &mut [u8],
    new: usize,
) -> usize {
    framing.decide(state.stream.upgrade());
    let seen = framing.check(bytes);
    if framing.has_passed_unchecked() {
        state.received.set_unchecked();
    }
    state.received(new, framing.is_in_head());
    state.received.set_in_body_of(framing.in_body_of());
    if let (Some(refusal), Some(_)) = (framing.refusal(), framing.in_body_of()) {
        state.received.set_malformed_body(refusal);
    }
    seen
}

impl<S: HttpSocket> Transport<S> {
    /// Reads while hyper rests. Requests that were prepared for are answered. Ready when hyper is
    /// needed: for a request, or because the stream has ended or failed.
    pub(crate) fn poll_first_bytes(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [const { MaybeUninit::uninit() }; FIRST_READ];
        let mut buffer = ReadBuf::uninit(&mut bytes);
        match ready!(Pin::new(&mut *self).poll_read(cx, buffer.unfilled())) {
            Ok(()) => self.put_back(buffer.filled()),
            Err(error) => self.failure = Some(error),
        }
        Poll::Ready(())
    }

    /// Takes bytes back that hyper was given and has not used.
    pub(crate) fn put_back(&mut self, bytes: &[u8]) {
        self.held.splice(..0, bytes.iter().copied());
        self.released += bytes.len();
    }

    /// Reads more of a head that is not complete.
    fn poll_read_held(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = self.held.len();
        self.held.resize(before + HEAD_READ, 0);
        let mut buffer = tokio::io::ReadBuf::new(&mut self.held[before..]);
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut buffer);
        let came = buffer.filled().len();
        self.held.truncate(before + came);
        ready!(read)?;
        self.released = match came {
            // The head will never be complete. hyper reports that.
            0 => before,
            came => check(&mut self.framing, &self.state, &mut self.held, came),
        };
        Poll::Ready(Ok(()))
    }

    /// Passes bytes to hyper, as many as it may see and has room for.
    fn release(&mut self, buffer: &mut ReadBufCursor<'_>) {
        let count = self.released.min(buffer.remaining());
        buffer.put_slice(&self.held[..count]);
        self.released -= count;
        if count == self.held.len() {
            // No idle connection holds a buffer.
            self.held = Vec::new();
        } else {
            self.held.drain(..count);
        }
    }

    /// In place of a refused head, hyper gets a request that stands for it. In the middle of a body
    /// it gets an error, and the service refuses the request if its response has not begun.
    fn poll_refused(
        &mut self,
        refusal: Refusal,
        buffer: &mut ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.framing.in_body_of().is_some() {
            return Poll::Ready(Err(refusal.error()));
        }
        if std::mem::replace(&mut self.is_refused, true) {
            // Nothing more is read. The task is woken when the response can be written.
            return Poll::Pending;
        }
        let line = self.held.split(|byte| *byte == b'\n').next();
        let line = line.unwrap_or_default().trim_ascii_end();
        self.state.received.set_malformed(MalformedRequest {
            refusal,
            line: line[..line.len().min(MAX_MALFORMED_LINE)].to_vec(),
        });
        buffer.put_slice(REFUSED_HEAD);
        Poll::Ready(Ok(()))
    }
}
