//! A socket's `O_NONBLOCK` flag: set for the length of a transfer, and put back after it.

use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::endpoint::Endpoint;

/// Sets `O_NONBLOCK` on a socket, since sendfile(2) and splice(2) have no flag of their own not to
/// wait for it (pitfall 10). Returns whether [`reblock`] has to undo that.
pub(super) fn unblock(fd: BorrowedFd<'_>, endpoint: &mut Endpoint) -> Result<bool, Errno> {
    if endpoint.nonblocking || !endpoint.kind.is_stream_socket() {
        return Ok(false);
    }
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    endpoint.nonblocking = true;
    Ok(true)
}

/// Undoes [`unblock`]. A failure is ignored: at the end of a transfer nobody could act on it.
pub(super) fn reblock(fd: BorrowedFd<'_>) {
    if let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
        let _ = rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK);
    }
}
