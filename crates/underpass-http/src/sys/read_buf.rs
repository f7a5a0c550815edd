//! hyper's read buffer seen as tokio's: neither initialises memory that is about to be read into.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::rt::ReadBufCursor;
use tokio::io::{AsyncRead, ReadBuf};

/// Reads from `socket` into `cursor` and shows what was read to `look`; hyper sees it if `look` says so, which is the
/// result.
pub(crate) fn poll_read<S: AsyncRead>(
    socket: Pin<&mut S>,
    cx: &mut Context<'_>,
    cursor: &mut ReadBufCursor<'_>,
    look: impl FnOnce(&mut [u8]) -> bool,
) -> Poll<io::Result<bool>> {
    // SAFETY: a tokio ReadBuf never writes uninitialised bytes either.
    let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
    ready!(socket.poll_read(cx, &mut buffer))?;
    if !look(buffer.filled_mut()) {
        return Poll::Ready(Ok(false));
    }
    let filled = buffer.filled().len();
    // SAFETY: tokio just filled and so initialised that many bytes.
    unsafe { cursor.advance(filled) };
    Poll::Ready(Ok(true))
}
