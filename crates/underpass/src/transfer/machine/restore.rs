//! Makes sockets non-blocking for the length of a transfer, and restores the positions and flags of
//! the descriptors when it ends.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::Machine;
use crate::endpoint::Endpoint;
use crate::route::send_zerocopy;
use crate::sys::Sys;
use crate::transfer::Input;

/// What to restore when the transfer ends.
#[derive(Debug)]
pub(super) struct Restore {
    pub(super) source_blocking: bool,
    pub(super) sink_blocking: bool,
    /// The source's position at the start, if seeking for holes changes it.
    pub(super) source_home: Option<u64>,
    pub(super) settled: bool,
}

/// Sets `O_NONBLOCK` on a socket, since sendfile(2) and splice(2) have no flag of their own not to
/// wait for it (pitfall 10). Returns whether [`reblock`] has to undo that.
pub(in crate::transfer) fn unblock(
    fd: BorrowedFd<'_>,
    endpoint: &mut Endpoint,
) -> Result<bool, Errno> {
    if endpoint.nonblocking || !endpoint.kind.is_stream_socket() {
        return Ok(false);
    }
    // FIONBIO changes this flag alone, so the others need not be read first.
    rustix::io::ioctl_fionbio(fd, true)?;
    endpoint.nonblocking = true;
    Ok(true)
}

/// Undoes [`unblock`]. A failure is ignored: at the end of a transfer nobody could act on it.
pub(in crate::transfer) fn reblock(fd: BorrowedFd<'_>) {
    let _ = rustix::io::ioctl_fionbio(fd, false);
}

impl<S: Input, D: AsFd, K: Sys> Machine<'_, S, D, K> {
    /// Sets the descriptors' positions to where the transfer ended, and restores the sockets'
    /// flags.
    pub(super) fn settle(&mut self) {
        if std::mem::replace(&mut self.restore.settled, true) {
            return;
        }
        if self.make_tail().is_err() {
            self.forget_tail();
        }
        if let Some(fd) = self.source.descriptor() {
            if let Some(position) = self.final_source_position() {
                let _ = self.sys.seek(fd, SeekFrom::Start(position));
            }
            if self.restore.source_blocking {
                reblock(fd);
            }
        }
        if let Some(position) = self.positions.sink {
            let _ = self.sys.seek(self.sink.as_fd(), SeekFrom::Start(position));
        }
        if self.restore.sink_blocking {
            reblock(self.sink.as_fd());
        }
        self.counters.end();
    }

    /// After the last byte delivered, or unchanged if a range was given. With an edit it is after
    /// the last chunk that was edited, since an edited byte has no position in the source.
    fn final_source_position(&self) -> Option<u64> {
        let undelivered = match self.settings.edit {
            None => self.staging.held() + self.unsent(),
            Some(_) => 0,
        };
        match self.settings.range {
            None => self.positions.source.map(|at| at - undelivered),
            Some(_) => self.restore.source_home,
        }
    }
}

impl<S: Input, D: AsFd, K: Sys> Drop for Machine<'_, S, D, K> {
    fn drop(&mut self) {
        self.settle();
        if let Some(pipe) = self.staging.pipe.take() {
            pipe.put_back();
        }
        if self.sends.outstanding() > 0
            && let Some(memory) = self.source.take_memory()
        {
            send_zerocopy::abandoned::keep(self.sink.as_fd(), memory);
        }
    }
}
