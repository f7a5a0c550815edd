//! A socket's `O_NONBLOCK` flag: set for the length of a transfer, and put back after it.

use rustix::fd::BorrowedFd;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::endpoint::Endpoint;

/// Marks a socket `O_NONBLOCK`, since neither sendfile(2) nor splice(2) can be asked not to wait
/// for one (pitfall 10); says whether it has to be undone.
pub(super) fn unblock(fd: BorrowedFd<'_>, endpoint: &mut Endpoint) -> Result<bool, Errno> {
    if endpoint.nonblocking || !endpoint.kind.is_stream_socket() {
        return Ok(false);
    }
    let flags = rustix::fs::fcntl_getfl(fd)?;
    rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
    endpoint.nonblocking = true;
    Ok(true)
}

/// Undoes [`unblock`]. It is called on the way out, where there is nobody to tell of a failure.
pub(super) fn reblock(fd: BorrowedFd<'_>) {
    if let Ok(flags) = rustix::fs::fcntl_getfl(fd) {
        let _ = rustix::fs::fcntl_setfl(fd, flags - OFlags::NONBLOCK);
    }
}
