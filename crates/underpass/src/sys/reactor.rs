//! Registration with tokio's reactor. It is `unsafe` because the descriptor must not change while
//! it is registered.

use rustix::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Registers `fd` for everything that a transfer may wait for.
pub(crate) fn register(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    let all = Interest::READABLE | Interest::WRITABLE | Interest::ERROR;
    // SAFETY: the `AsyncFd` owns an `OwnedFd`, whose number and open file stay the same for as long
    // as it lives.
    let registered = unsafe { AsyncFd::register_with_interest(fd, all) };
    registered.map_err(std::io::Error::from)
}
