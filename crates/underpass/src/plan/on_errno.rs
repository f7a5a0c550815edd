//! What a transfer does after a system call failed.

use rustix::io::Errno;

use crate::layer::CallError;
use crate::route::Route;

/// What to do after a system call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnErrno {
    /// Interrupted by a signal: make the same call again.
    Again,
    /// Try the next route. The failed call moved nothing and positions are exact, so that is as
    /// safe in the middle as at the start (pitfall 6: FUSE and seccomp refuse at any time).
    NextRoute,
    /// End the transfer: no route can do better.
    Fail,
}

/// What a transfer does after a call of `route` failed. What TLS finds wrong with a connection is
/// wrong for every route.
pub(crate) fn on_error(error: CallError, route: Route) -> OnErrno {
    match error {
        CallError::Errno(errno) => on_errno(errno, route),
        CallError::Layer(_) => OnErrno::Fail,
    }
}

/// The same for an error number.
pub(crate) fn on_errno(errno: Errno, route: Route) -> OnErrno {
    match errno {
        Errno::INTR => OnErrno::Again,
        // The sink is full, or its quota or size limit is reached.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => OnErrno::Fail,
        // The peer or reader is gone, or there is no way to it any more.
        Errno::PIPE
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::NOTCONN
        | Errno::SHUTDOWN
        | Errno::TIMEDOUT
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::NETDOWN
        | Errno::NETRESET => OnErrno::Fail,
        // The last route: no other follows, and its buffer may hold bytes that no other route can
        // deliver.
        _ if route == Route::ReadWrite => OnErrno::Fail,
        // It was the TLS layer's call that failed, which the last route would make too.
        _ if route == Route::Seal => OnErrno::Fail,
        // EXDEV, EINVAL, EOPNOTSUPP, ENOSYS, EBADF (O_APPEND), EPERM, EIO (CIFS), EOVERFLOW,
        // ETXTBSY and whatever else a file system may return.
        _ => OnErrno::NextRoute,
    }
}
