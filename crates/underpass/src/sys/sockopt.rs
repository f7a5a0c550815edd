//! Socket options that rustix does not wrap, or not as they are needed: getsockopt(2).

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use rustix::io::Errno;

use super::{Fd, Result};

/// The process and user that connected, or that listen. The process is 0 if it is in a PID
/// namespace that is not visible here. rustix's type cannot be 0, so it is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) process: i32,
    pub(crate) user: u32,
}

/// The peer of a Unix socket: `SO_PEERCRED` of unix(7).
pub(crate) fn peer(fd: Fd) -> Result<Peer> {
    // SAFETY: the answer is a `ucred`, which is plain data.
    let raw = unsafe { get::<libc::ucred>(fd, libc::SOL_SOCKET, libc::SO_PEERCRED) }?;
    Ok(Peer {
        process: raw.pid,
        user: raw.uid,
    })
}

/// Reads an option. An answer that is shorter than `T` leaves zeros.
///
/// # Safety
/// `T` is plain data: any bytes are a valid `T`.
pub(super) unsafe fn get<T>(fd: Fd, level: i32, option: i32) -> Result<T> {
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `value`.
    let done = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            option,
            value.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    if done < 0 {
        return Err(last_errno());
    }
    // SAFETY: it is zeros and what the kernel wrote, and any bytes are valid, as the caller says.
    Ok(unsafe { value.assume_init() })
}

pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
