//! The names of error numbers, for receipts.

use rustix::io::Errno;

/// The symbolic name of `errno`, such as `ECONNRESET`; for one that is not listed, `errno 12`.
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
