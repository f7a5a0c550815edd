//! Sending the responses that were prepared when their files were opened.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::StatusCode;

use super::Transport;
use crate::prepared::{self, PreparedResponse};
use crate::server::observe::Exchange;
use crate::server::socket::HttpSocket;

/// Bodies up to this size are copied behind their head, because one slice is cheaper to send than
/// two.
const JOINED_UP_TO: usize = 4 << 10;

impl<S: HttpSocket> Transport<S> {
    /// Responds to a request that hyper does not see.
    pub(super) fn respond(
        &mut self,
        cx: &mut Context<'_>,
        response: PreparedResponse,
    ) -> io::Result<()> {
        let state = Arc::clone(&self.state);
        let log = &state.stream.log;
        state.begin_request(None, log.observer().map(|_| Exchange::begun(state.peer)));
        log.note(|exchange| {
            exchange.status = Some(StatusCode::OK);
            exchange.bytes = response.body.len() as u64;
        });
        if response.is_of_object {
            state.stream.given_of_object(response.body.len() as u64);
        }
        state.end_response();
        prepared::SCRATCH.with_borrow_mut(|head| {
            head.clear();
            prepared::write_head(&response, state.added_fields.lines(), head);
            let mut body = response.body;
            if body.len() <= JOINED_UP_TO {
                head.extend_from_slice(&body);
                body.clear();
            }
            self.send_response(cx, head, &body)
        })
    }

    /// Sends as much as possible now, and keeps the rest.
    fn send_response(&mut self, cx: &mut Context<'_>, head: &[u8], body: &Bytes) -> io::Result<()> {
        let sent = match self.poll_send(cx, filled(&[IoSlice::new(head), IoSlice::new(body)])) {
            Poll::Ready(sent) => sent?,
            Poll::Pending => 0,
        };
        let head_left = &head[sent.min(head.len())..];
        self.keep_unsent(
            cx,
            Bytes::copy_from_slice(head_left),
            body.slice(sent.saturating_sub(head.len())..),
        )
    }

    /// Sends the rest of a prepared response. It comes before anything that hyper has to send.
    pub(super) fn poll_unsent(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.unsent.iter().any(|bytes| !bytes.is_empty()) {
            let [head, body] = self.unsent.clone();
            let slices = [IoSlice::new(&head), IoSlice::new(&body)];
            let sent = ready!(self.poll_send(cx, filled(&slices)))?;
            self.keep_unsent(
                cx,
                head.slice(sent.min(head.len())..),
                body.slice(sent.saturating_sub(head.len())..),
            )?;
        }
        if self.is_unflushed {
            ready!(self.poll_complete(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Keeps the rest of a prepared response. If nothing is left, the exchange is complete as soon
    /// as the socket has flushed it.
    fn keep_unsent(&mut self, cx: &mut Context<'_>, head: Bytes, body: Bytes) -> io::Result<()> {
        let is_all = head.is_empty() && body.is_empty();
        self.unsent = [head, body];
        if is_all && let Poll::Ready(completed) = self.poll_complete(cx) {
            return completed;
        }
        Ok(())
    }

    fn poll_complete(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_unflushed = true;
        ready!(self.poll_flush_socket(cx))?;
        self.is_unflushed = false;
        self.all_is_sent();
        self.state.flushed();
        Poll::Ready(Ok(()))
    }
}

/// The slices that are not empty.
fn filled<'a, 'b>(slices: &'a [IoSlice<'b>; 2]) -> &'a [IoSlice<'b>] {
    match (slices[0].is_empty(), slices[1].is_empty()) {
        (true, _) => &slices[1..],
        (_, true) => &slices[..1],
        _ => slices,
    }
}
