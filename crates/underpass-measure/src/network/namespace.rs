//! Network namespaces without a name: they, and all that is in them, are gone when nobody holds
//! them, whatever ended the process. So nothing of ours can be left behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys;

/// A network namespace (network_namespaces(7)), held by a descriptor.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    pub(super) fn new() -> io::Result<Self> {
        apart(|| {
            sys::leave_network()?;
            Ok(Self(File::open("/proc/thread-self/ns/net")?))
        })
    }

    /// Runs `work` on a thread that is inside; a socket that it makes stays inside.
    pub(super) fn enter<T: Send>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send,
    ) -> io::Result<T> {
        apart(|| {
            move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))?;
            work()
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// On a thread of its own, since a namespace is the thread's.
fn apart<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let ended = thread::scope(|scope| scope.spawn(work).join());
    ended.unwrap_or_else(|_| Err(io::Error::other("the thread that entered it panicked")))
}
