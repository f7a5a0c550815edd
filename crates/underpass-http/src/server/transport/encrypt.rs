//! Sending on a socket that encrypts in this process.

use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};

use super::Transport;
use crate::server::socket::HttpSocket;
use crate::sys::mapping::check_slices;

impl<S: HttpSocket> Transport<S> {
    /// Encrypts some of `slices`, files and memory alike, and sends that.
    ///
    /// Encrypting reads the pages of a file, and those of a truncated one are zeros. So the files
    /// are checked between encrypting and sending.
    pub(super) fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if slices.iter().all(|slice| slice.is_empty()) {
            return Poll::Ready(Ok(0));
        }
        let mut changed = false;
        let mut check = || check_slices(slices).inspect_err(|_| changed = true);
        let sent = self.blockable(|socket| socket.poll_encrypt(cx, slices, &mut check));
        self.state.keeps(self.socket.unsent());
        let sent = match ready!(sent) {
            Err(error) if changed => return Poll::Ready(Err(self.broke_off(error))),
            sent => sent?,
        };
        self.state.stats().bytes_encrypted.add(sent as u64);
        self.state.sent(sent);
        Poll::Ready(Ok(sent))
    }
}
