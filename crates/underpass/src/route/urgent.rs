//! TCP's urgent byte (`MSG_OOB` of send(2)), which splice(2) does not pass.
//!
//! splice(2) takes what is before the mark. At the mark it says 0 if the peer has ended its side,
//! else EAGAIN, whatever is behind. read(2) steps over the urgent byte and goes on behind it, so
//! that is what is done there: all other bytes arrive, and the urgent one does not, as for every
//! program that just reads. With `SO_OOBINLINE` on the socket it arrives too.

use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::sys::Sys;

/// Whether `said`, which is what splice(2) said of `source`, is due to an urgent mark: then the
/// next bytes have to be read (pitfall 24). It costs a system call only where `said` is 0 or
/// EAGAIN.
pub(crate) fn stopped<K: Sys>(sys: &K, source: BorrowedFd<'_>, said: Result<usize, Errno>) -> bool {
    if !matches!(said, Ok(0) | Err(Errno::AGAIN)) {
        return false;
    }
    match sys.at_mark(source) {
        Ok(at) => at,
        // What is no socket has no mark, and neither had Unix sockets before Linux 5.15.
        Err(Errno::NOTTY) => false,
        // It does not say (a seccomp filter, a signal): reading finds out, and finds the end as
        // well.
        Err(_) => true,
    }
}
