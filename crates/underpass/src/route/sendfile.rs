//! File → socket or file: the sink gets the page cache's own pages. For a socket whose interface
//! gathers, the CPU copies nothing.
//!
//! The pages are shared, not snapshotted (pitfall 1). The kernel keeps `MSG_MORE` set within one
//! call only.

use rustix::fd::BorrowedFd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{CallOutcome, Ends, or_end};
use crate::step::Wait;
use crate::sys::{Kernel, MAX_CALL, Sys};

pub(crate) fn step<K: Sys>(ends: &mut Ends<'_, K>, len: usize) -> Result<CallOutcome, Errno> {
    // sendfile(2) has no offset for the sink: it writes at the cursor.
    if let Some(to) = *ends.sink.position {
        ends.sys.seek(ends.sink.fd, SeekFrom::Start(to))?;
    }
    let mut from = *ends.source.position;
    match ends
        .sys
        .sendfile(ends.sink.fd, ends.source.fd()?, from.as_mut(), len)
    {
        Ok(count) => {
            ends.source.advance(count as u64);
            ends.sink.advance(count as u64);
            Ok(or_end(count, CallOutcome::Passed))
        }
        // A file is always ready, so the sink blocked.
        Err(Errno::AGAIN) => Ok(CallOutcome::Blocked(Wait::Sink)),
        Err(errno) => Err(errno),
    }
}

/// What one call of [`sendfile_once`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// This many bytes were sent, at least one. Fewer than asked for if the socket took no more or
    /// the file ended.
    Moved(usize),
    /// Nothing was sent: wait until the socket is writable.
    Blocked,
    /// Nothing was sent: the file has no bytes at that offset (any more).
    Ended,
}

/// Makes one call of the [`Sendfile`](super::Route::Sendfile) route, for a program with an event
/// loop of its own: sends up to `len` bytes of `file`, from `offset` on, to a non-blocking
/// `socket`.
///
/// The caller keeps count of the bytes; a [`Transfer`](crate::Transfer) does that itself and
/// chooses the route too. The call waits for the disk if pages are not in the page cache, even if
/// the socket is non-blocking. At most 0x7ffff000 bytes are sent in one call (sendfile(2), NOTES).
/// `len` may be 0; then nothing is sent.
///
/// # Errors
///
/// What sendfile(2) returned, except `EAGAIN`, which is [`Sent::Blocked`], and `EINTR`, which is
/// tried again. `EINVAL` and `ENOSYS` mean that the file or the socket does not support this.
///
/// ```no_run
/// use std::os::fd::AsFd;
/// use underpass::{Sent, sendfile_once};
///
/// # fn wait_until_writable(_: &std::net::TcpStream) {}
/// let file = std::fs::File::open("in.bin")?;
/// let socket = std::net::TcpStream::connect("127.0.0.1:9000")?;
/// socket.set_nonblocking(true)?;
/// let mut offset = 0;
/// loop {
///     match sendfile_once(file.as_fd(), offset, socket.as_fd(), 1 << 20)? {
///         Sent::Moved(count) => offset += count as u64,
///         Sent::Blocked => wait_until_writable(&socket),
///         Sent::Ended => break,
///     }
/// }
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn sendfile_once(
    file: BorrowedFd<'_>,
    offset: u64,
    socket: BorrowedFd<'_>,
    len: usize,
) -> std::io::Result<Sent> {
    let sys = Kernel::default();
    loop {
        let mut from = offset;
        return match sys.sendfile(socket, file, Some(&mut from), len.min(MAX_CALL)) {
            Ok(0) => Ok(Sent::Ended),
            Ok(count) => Ok(Sent::Moved(count)),
            Err(Errno::AGAIN) => Ok(Sent::Blocked),
            Err(Errno::INTR) => continue,
            Err(errno) => Err(errno.into()),
        };
    }
}
