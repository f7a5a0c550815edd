//! Restores positions and flags of the descriptors when a transfer ends.

use rustix::fd::AsFd;
use rustix::fs::SeekFrom;

use super::Machine;
use crate::route::send_zerocopy;
use crate::sys::Sys;
use crate::transfer::{Input, blocking_mode};

/// What to restore when the transfer ends.
#[derive(Debug)]
pub(super) struct Restore {
    pub(super) source_blocking: bool,
    pub(super) sink_blocking: bool,
    /// The source's position at the start, if seeking for holes changes it.
    pub(super) source_home: Option<u64>,
    pub(super) settled: bool,
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
                blocking_mode::reblock(fd);
            }
        }
        if let Some(position) = self.positions.sink {
            let _ = self.sys.seek(self.sink.as_fd(), SeekFrom::Start(position));
        }
        if self.restore.sink_blocking {
            blocking_mode::reblock(self.sink.as_fd());
        }
        self.counters.end();
    }

    /// After the last byte delivered, or unchanged if a range was given. With an edit it is after
    /// the last chunk that was edited, since an edited byte has no position in the source.
    fn final_source_position(&self) -> Option<u64> {
        let held = match self.settings.edit {
            None => self.staging.held(),
            Some(_) => 0,
        };
        match self.settings.range {
            None => self.positions.source.map(|at| at - held),
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
