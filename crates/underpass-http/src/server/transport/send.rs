//! Sending: slices of files by sendfile(2), other memory by send(2).

use std::io::{self, IoSlice};
use std::os::fd::AsFd as _;
use std::task::{Context, Poll, ready};

use super::Transport;
use crate::server::socket::HttpSocket;
use crate::sys::mapping::{FilePosition, file_position};
use crate::sys::truncated;

/// Files of at least this size are sent with the socket corked. sendfile(2) passes on 64 KiB at a
/// time, and without a cork TCP pushes after each of them. Corked, 1 GiB was sent 1.25 times as
/// fast; for 100 KiB the two calls cost as much as they gain (see DESIGN.md).
const CORKED_FROM: usize = 256 << 10;

impl<S: HttpSocket> Transport<S> {
    /// Sends the first of `slices`: memory, a part of a file, or memory and the file after it.
    /// Waits if the socket is full or the turn is over.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.state.budget.is_spent() {
            self.may_have_changed = true;
            self.state.end_turn(cx.waker());
            return Poll::Pending;
        }
        if let Some(first) = slices.first() {
            self.state.stream.note_head(first);
        }
        if self.socket.encrypts() {
            return self.poll_encrypt(cx, slices);
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
                // The head was just sent with `MSG_MORE`, so that the file shares its segment. If
                // the file cannot be sent now, the head still was.
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
        if self.may_have_changed {
            self.check(position)?;
        }
        self.cork(len >= CORKED_FROM);
        let sent = self.blockable(|socket| socket.poll_send_file(cx, file, position.offset, len));
        match ready!(sent) {
            Ok(0) => Poll::Ready(Err(self.broke_off(truncated(position.offset)))),
            Ok(sent) => {
                self.may_have_changed |= sent < slice.len();
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

    /// Sends a slice of a file as memory, because the socket or the file system does not support
    /// sendfile(2).
    fn poll_send_mapped(
        &mut self,
        cx: &mut Context<'_>,
        slice: &[u8],
        position: FilePosition<'_>,
    ) -> Poll<io::Result<usize>> {
        self.check(position)?;
        let sent = ready!(self.poll_send_memory(cx, &[IoSlice::new(slice)], false));
        // If the kernel reads pages of a truncated file, it returns EFAULT. If this process does,
        // it reads zeros.
        if matches!(&sent, Err(error) if error.raw_os_error() == Some(libc::EFAULT)) {
            return Poll::Ready(Err(self.broke_off(truncated(position.offset))));
        }
        self.check(position)?;
        Poll::Ready(sent)
    }

    /// Sets the cork, if it is `wanted` and not set.
    fn cork(&mut self, wanted: bool) {
        if wanted && !self.is_corked {
            self.socket.set_cork(true);
            self.is_corked = true;
        }
    }

    /// The response was sent: removes the cork.
    pub(super) fn all_is_sent(&mut self) {
        self.may_have_changed = false;
        if std::mem::take(&mut self.is_corked) {
            self.socket.set_cork(false);
        }
    }

    /// Checks that the file has not changed since its response began.
    fn check(&self, position: FilePosition<'_>) -> io::Result<()> {
        let checked = position.mapping.check(position.offset);
        checked.map_err(|error| self.broke_off(error))
    }

    pub(super) fn broke_off(&self, error: io::Error) -> io::Error {
        self.state.stats().broke_off(&error);
        error
    }

    /// Sends, and notes whether the peer's buffers are full.
    pub(super) fn blockable(
        &mut self,
        send: impl FnOnce(&mut S) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let result = send(&mut self.socket);
        self.may_have_changed |= result.is_pending();
        self.state.timing.set_blocked(result.is_pending());
        result
    }
}

/// Whether sendfile(2) does not work for this file and socket, as opposed to an error of the
/// connection.
fn is_refusal(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, Unsupported};
    matches!(error.kind(), InvalidInput | Unsupported)
        || matches!(
            error.raw_os_error(),
            Some(libc::EPERM | libc::EOPNOTSUPP | libc::ENOSYS)
        )
}
