//! TCP's urgent byte (`MSG_OOB` of send(2)), which splice(2) does not get past.
//!
//! splice(2) moves the bytes before the mark. At the mark it returns 0 if the peer has ended its
//! side, otherwise EAGAIN, whatever follows. read(2) skips the urgent byte and goes on, so it is
//! used there. All other bytes arrive, and the urgent one does not, as for every program that just
//! reads. With `SO_OOBINLINE` on the socket it arrives too.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::sys::Sys;

/// Whether `said`, the result of splice(2) on `source`, is due to an urgent mark, so that the next
/// bytes have to be read (pitfall 24). Makes a system call only if `said` is 0 or EAGAIN.
pub(crate) fn stopped<K: Sys>(sys: &K, source: BorrowedFd<'_>, said: Result<usize, Errno>) -> bool {
    if !matches!(said, Ok(0) | Err(Errno::AGAIN)) {
        return false;
    }
    match sys.at_mark(source) {
        Ok(at) => at,
        // Only sockets have marks, and Unix sockets only since Linux 5.15.
        Err(Errno::NOTTY) => false,
        // The question failed (a seccomp filter, a signal). Reading is right in both cases.
        Err(_) => true,
    }
}
