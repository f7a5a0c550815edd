//! What an errno means for a transfer: policy, in one place.

use rustix::io::Errno;

use crate::route::Route;

/// What to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A signal came between: the same call again.
    Again,
    /// This route is refused here; the next may serve. Nothing was moved by the call, and positions are exact, so that is
    /// as safe in the middle as at the start (pitfall 6: FUSE and seccomp refuse at any time).
    NextRoute,
    /// No route can do better.
    Fail,
}

pub(crate) fn of(errno: Errno, route: Route) -> Verdict {
    match errno {
        Errno::INTR => Verdict::Again,
        // The sink is full, or its quota or size limit is reached.
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => Verdict::Fail,
        // The peer or the reader is gone, or the way to it.
        Errno::PIPE
        | Errno::CONNRESET
        | Errno::CONNABORTED
        | Errno::NOTCONN
        | Errno::SHUTDOWN
        | Errno::TIMEDOUT
        | Errno::HOSTUNREACH
        | Errno::NETUNREACH
        | Errno::NETDOWN
        | Errno::NETRESET => Verdict::Fail,
        // The last resort: there is nothing behind it, and its buffer may hold bytes that only it can give.
        _ if route == Route::ReadWrite => Verdict::Fail,
        // EXDEV, EINVAL, EOPNOTSUPP, ENOSYS, EBADF (O_APPEND), EPERM, EIO (CIFS), EOVERFLOW, ETXTBSY and whatever else
        // a file system comes up with.
        _ => Verdict::NextRoute,
    }
}

/// The errno's name, where it is one of those that make a route be left, or a peer be gone.
pub(crate) fn name(errno: Errno) -> String {
    let known = [
        (Errno::XDEV, "EXDEV"),
        (Errno::INVAL, "EINVAL"),
        (Errno::OPNOTSUPP, "EOPNOTSUPP"),
        (Errno::NOTSUP, "ENOTSUP"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::BADF, "EBADF"),
        (Errno::PERM, "EPERM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::IO, "EIO"),
        (Errno::OVERFLOW, "EOVERFLOW"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::SPIPE, "ESPIPE"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::NOBUFS, "ENOBUFS"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NFILE, "ENFILE"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::FAULT, "EFAULT"),
        (Errno::NODEV, "ENODEV"),
        (Errno::STALE, "ESTALE"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::PIPE, "EPIPE"),
        (Errno::CONNRESET, "ECONNRESET"),
        (Errno::CONNABORTED, "ECONNABORTED"),
        (Errno::NOTCONN, "ENOTCONN"),
        (Errno::TIMEDOUT, "ETIMEDOUT"),
        (Errno::HOSTUNREACH, "EHOSTUNREACH"),
        (Errno::NETUNREACH, "ENETUNREACH"),
    ];
    known.iter().find(|(known, _)| *known == errno).map_or_else(
        || format!("errno {}", errno.raw_os_error()),
        |(_, name)| (*name).to_owned(),
    )
}
