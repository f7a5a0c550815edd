//! hyper's read buffer seen as tokio's: neither initialises memory that is about to be read into.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

/// What a read gave.
pub(crate) struct Read {
    /// Bytes that came; none at the end of the stream.
    pub(crate) came: usize,
    /// Those of them that hyper sees.
    pub(crate) seen: usize,
}

/// Reads from `socket` into `cursor` and shows what was read to `look`, which says how many of the
/// bytes hyper sees.
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
