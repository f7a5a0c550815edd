//! Reads into hyper's read buffer, without initialising it first.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

/// The result of a read.
pub(crate) struct Read {
    /// Bytes that were read; 0 at the end of the stream.
    pub(crate) came: usize,
    /// How many of them hyper sees.
    pub(crate) seen: usize,
}

/// Reads from `socket` into `cursor`, and calls `look` with the bytes, which returns how many of
/// them hyper sees.
pub(crate) fn poll_read<S: AsyncRead>(
    socket: Pin<&mut S>,
    cx: &mut Context<'_>,
    cursor: &mut ReadBufCursor<'_>,
    look: impl FnOnce(&mut [u8]) -> usize,
) -> Poll<io::Result<Read>> {
    // SAFETY: a tokio ReadBuf never writes uninitialised bytes either.
    let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
    ready!(socket.poll_read(cx, &mut buffer))?;
    let came = buffer.filled().len();
    let seen = look(buffer.filled_mut()).min(came);
    // SAFETY: tokio just filled and so initialised at least that many bytes.
    unsafe { cursor.advance(seen) };
    Poll::Ready(Ok(Read { came, seen }))
}
