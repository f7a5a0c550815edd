//! What to call a descriptor in a report.

use rustix::fd::{AsRawFd, BorrowedFd};

use super::Kind;
use crate::net::address::ip_address;

/// The address of a TCP socket's peer; otherwise the link in `/proc/self/fd`, which for a file is
/// its path (proc(5)).
pub(crate) fn name_of(fd: BorrowedFd<'_>, kind: Kind) -> String {
    if kind == Kind::Tcp
        && let Some(address) = rustix::net::getpeername(fd)
            .ok()
            .flatten()
            .and_then(ip_address)
    {
        return address.to_string();
    }
    let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
    match std::fs::read_link(&link) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => format!("descriptor {}", fd.as_raw_fd()),
    }
}
