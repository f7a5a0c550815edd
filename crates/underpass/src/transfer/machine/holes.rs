//! Skips the holes of a sparse source, so that they stay holes in the sink.

use rustix::fd::AsFd;
use rustix::io::{Errno, retry_on_intr};

use super::{Machine, Positions};
use crate::endpoint::{Endpoint, Kind};
use crate::route::Route;
use crate::sys::Sys;
use crate::transfer::Input;
use crate::transfer::extents::{Ahead, Extents};
use crate::transfer::settings::TransferSettings;

/// Whether holes are skipped, and the position among them.
#[derive(Debug)]
pub(in crate::transfer) struct Sparse {
    pub(super) extents: Option<Extents>,
    /// Length of the hole that was skipped last: the sink is shorter by this much.
    pub(super) tail: u64,
}

impl Sparse {
    /// Decides whether holes can be skipped: only where the sink has no data yet, since that reads
    /// as zeros too.
    pub(in crate::transfer) fn between(
        source: &Endpoint,
        sink: &Endpoint,
        positions: &Positions,
        settings: &TransferSettings<'_>,
    ) -> Self {
        let fresh =
            sink.kind == Kind::File && positions.sink.is_some() && positions.sink >= sink.size;
        let walk = source.holes && positions.untaken.is_some() && fresh && settings.edit.is_none();
        Self {
            extents: walk.then(Extents::default),
            tail: 0,
        }
    }
}

impl<S: Input, D: AsFd, K: Sys> Machine<'_, S, D, K> {
    /// Bytes of data before the next hole, if holes are skipped.
    pub(super) fn ahead(&mut self) -> u64 {
        match self.look_ahead() {
            Some(Ahead::Data(bytes)) => bytes,
            _ => u64::MAX,
        }
    }

    fn look_ahead(&mut self) -> Option<Ahead> {
        // A reflink keeps holes as they are.
        if self.plan.routes[self.current].route == Route::Reflink {
            return None;
        }
        let extents = self.sparse.extents.as_mut()?;
        let (at, untaken) = (self.positions.source?, self.positions.untaken?);
        if untaken == 0 {
            return None;
        }
        let fd = self.source.descriptor()?;
        Some(extents.ahead(&self.sys, fd, at, at + untaken))
    }

    pub(super) fn step_over_hole(&mut self) -> Option<u64> {
        if self.staging.held() > 0 {
            return None;
        }
        let Some(Ahead::Hole(bytes)) = self.look_ahead() else {
            return None;
        };
        self.took(bytes);
        self.sparse.tail += bytes;
        for position in [&mut self.positions.source, &mut self.positions.sink] {
            *position = position.map(|at| at + bytes);
        }
        self.counters.skipped(bytes);
        Some(bytes)
    }

    /// Extends the sink to the end of the hole that was skipped last.
    pub(super) fn make_tail(&mut self) -> Result<(), Errno> {
        let (fd, Some(end)) = (self.sink.as_fd(), self.positions.sink) else {
            return Ok(());
        };
        if self.sparse.tail > 0 && retry_on_intr(|| self.sys.size(fd))? < end {
            retry_on_intr(|| self.sys.truncate(fd, end))?;
        }
        self.sparse.tail = 0;
        Ok(())
    }

    /// Takes back a skipped hole, because the sink could not be extended by it.
    pub(super) fn forget_tail(&mut self) {
        let tail = std::mem::take(&mut self.sparse.tail);
        self.counters.skip_back(tail);
        for position in [&mut self.positions.source, &mut self.positions.sink] {
            *position = position.map(|at| at - tail);
        }
    }
}
