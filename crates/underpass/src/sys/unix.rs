//! The peer of a Unix socket: unix(7) `SO_PEERCRED`.

use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use super::{Fd, Result, tcp::last_errno};

/// The process and user that connected, or that listen. The process is 0 if it is in a PID
/// namespace that is not visible here. rustix's type cannot be 0, so it is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) process: i32,
    pub(crate) user: u32,
}

/// getsockopt(2) with `SO_PEERCRED`.
pub(crate) fn peer(fd: Fd) -> Result<Peer> {
    let mut raw = MaybeUninit::<libc::ucred>::zeroed();
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `len` bytes into `raw`; all-zero is a valid `ucred`, so a
    // shorter answer leaves zeros.
    let raw = unsafe {
        let ok = libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            raw.as_mut_ptr().cast(),
            &raw mut len,
        );
        if ok < 0 {
            return Err(last_errno());
        }
        raw.assume_init()
    };
    Ok(Peer {
        process: raw.pid,
        user: raw.uid,
    })
}
