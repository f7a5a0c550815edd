//! Sends the parts of a sequence, one after the other.

use std::fs::File;
use std::ops::Range;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::retry_on_intr;

use super::account::MEMORY;
use super::pending::{FULL, Pending};
use super::{
    Account, Cause, EndedEarly, Error, GATHER_UP_TO, Part, PartKind, Parts, TransferSettings,
};
use crate::endpoint::{Endpoint, Kind, name_of, peer_of};
use crate::memory::Memory;
use crate::net::egress::Egress;
use crate::plan::{PlanOptions, plan};
use crate::receipt::{Party, Receipt};
use crate::route::Route;
use crate::sys::{Kernel, Sys};
use crate::transfer::Input;
use crate::transfer::counters::Counters;
use crate::transfer::drive_poll;
use crate::transfer::machine::{Machine, Positions, Sparse, reblock, unblock};
use crate::transfer::settings::Progress;
use crate::transfer::setup;
use crate::wire::Wire;

/// A sequence under way.
pub(super) struct Work<'a, P, D: AsFd> {
    parts: P,
    sink: D,
    to: Endpoint,
    wire: Wire,
    /// The sink's position, if writes to it have one.
    position: Option<u64>,
    was_blocking: bool,
    settings: TransferSettings<'a>,
    pending: Pending,
    account: Account,
}

/// What one transfer takes, and how.
struct Take<S> {
    source: S,
    from: Endpoint,
    range: Range<u64>,
    route: Option<Route>,
    /// Something follows at once.
    more: bool,
}

impl<'a, P: Parts, D: AsFd> Work<'a, P, D> {
    pub(super) fn start(
        parts: P,
        sink: D,
        mut settings: TransferSettings<'a>,
    ) -> Result<Self, Cause> {
        let wire = settings.sink_layer.take().map(Wire::of).unwrap_or_default();
        let fd = sink.as_fd();
        let mut to = setup::inspect_sink(fd)?.with_tls(wire.tls());
        let position = setup::cursor(fd, &to)?;
        let was_blocking = unblock(fd, &mut to).map_err(|e| Cause::Inspect("the sink", e))?;
        Ok(Self {
            parts,
            sink,
            to,
            wire,
            position,
            was_blocking,
            settings,
            pending: Pending::default(),
            account: Account::new(),
        })
    }

    /// Sends everything.
    pub(super) fn run(&mut self) -> Result<(), Cause> {
        while let Some(Part(part)) = self.parts.next_part() {
            if self.settings.is_cancelled() {
                return Err(Cause::Cancelled);
            }
            match part {
                PartKind::Memory(bytes) => self.gather(&bytes)?,
                PartKind::File(file, range) => self.file(&file, range)?,
                PartKind::Flush => {
                    self.send_pending(false)?;
                    self.flush_layer()?;
                }
            }
        }
        self.send_pending(false)?;
        self.flush_layer()
    }

    fn gather(&mut self, bytes: &[u8]) -> Result<(), Cause> {
        self.pending.push(MEMORY, bytes);
        if self.pending.len() >= FULL {
            self.send_pending(true)?;
        }
        Ok(())
    }

    fn file(&mut self, file: &File, range: Range<u64>) -> Result<(), Cause> {
        let length = range.end.saturating_sub(range.start);
        if length == 0 {
            return Ok(());
        }
        let from = setup::inspect(file.as_fd(), "a file")?;
        let missing = if length <= GATHER_UP_TO && self.settings.route.is_none() {
            self.gather_file(file, &from, range)?
        } else {
            self.send_pending(true)?;
            let group = self.account.group(&from);
            let route = self.settings.route;
            let (counters, sent) = self.transfer(Take {
                source: file,
                from,
                range,
                route,
                more: true,
            })?;
            self.account.add(group, counters);
            match sent {
                Ok(()) => 0,
                Err(Cause::Truncated { missing, .. }) if missing > 0 => {
                    self.ended_early(missing, sent)?
                }
                Err(cause) => return Err(cause),
            }
        };
        self.fill(missing)
    }

    /// Reads a small file. Returns how many bytes are missing and wanted as zeros.
    fn gather_file(
        &mut self,
        file: &File,
        from: &Endpoint,
        range: Range<u64>,
    ) -> Result<u64, Cause> {
        let group = self.account.group(from);
        let sys = Kernel::default();
        let mut at = range.start;
        while at < range.end {
            let length = (range.end - at) as usize;
            let read = self.pending.read(group, length, |buffer| {
                retry_on_intr(|| sys.pread(file.as_fd(), buffer, at))
            });
            match read {
                Ok(0) => break,
                Ok(count) => at += count as u64,
                Err(errno) => {
                    let what = "pread";
                    return Err(Cause::Call { what, errno });
                }
            }
        }
        self.account.calls += sys.calls();
        if self.pending.len() >= FULL {
            self.send_pending(true)?;
        }
        let missing = range.end - at;
        if missing == 0 {
            return Ok(0);
        }
        let size = sys.size(file.as_fd()).ok();
        self.ended_early(missing, Err(Cause::Truncated { at, size, missing }))
    }

    /// Asks what to do about a file that has ended. Returns how many zeros to send.
    fn ended_early(&mut self, missing: u64, otherwise: Result<(), Cause>) -> Result<u64, Cause> {
        match self.parts.ended_early(missing) {
            EndedEarly::FillWithZeros => Ok(missing),
            EndedEarly::Fail => otherwise.map(|()| 0),
        }
    }

    fn fill(&mut self, mut missing: u64) -> Result<(), Cause> {
        const ZEROS: &[u8] = &[0; FULL];
        while missing > 0 {
            let part = missing.min(FULL as u64);
            self.gather(&ZEROS[..part as usize])?;
            missing -= part;
        }
        Ok(())
    }

    /// Sends what was gathered. `more` says that something follows at once.
    fn send_pending(&mut self, more: bool) -> Result<(), Cause> {
        if self.pending.len() == 0 {
            return Ok(());
        }
        let (bytes, runs) = self.pending.take();
        let (counters, sent) = self.transfer(Take {
            range: 0..bytes.len() as u64,
            from: Endpoint::assumed(Kind::Memory),
            source: Memory::new(bytes),
            // By reference it would have to wait for the kernel's report each time.
            route: Some(Route::ReadWrite),
            more,
        })?;
        self.account.add_gathered(&runs, counters);
        sent
    }

    /// Makes one transfer. What it moved is returned also where it failed.
    fn transfer<S: Input>(
        &mut self,
        take: Take<S>,
    ) -> Result<(Counters, Result<(), Cause>), Cause> {
        let length = take.range.end - take.range.start;
        let options = PlanOptions {
            length: Some(length),
            promise: self.settings.promise,
            edit: false,
            route: take.route,
        };
        let plan = plan(&take.from, &self.to, &options).map_err(Cause::Plan)?;
        let positions = Positions {
            source: Some(take.range.start),
            sink: self.position,
            untaken: Some(length),
        };
        let before = self.account.bytes;
        let progress = self.settings.progress.as_mut().map(|progress| {
            let report = move |now: Progress| {
                progress(now.after(before));
            };
            Box::new(report) as Box<dyn FnMut(Progress) + Send + '_>
        });
        let settings = TransferSettings {
            range: Some((take.range.start, Some(take.range.end))),
            promise: self.settings.promise,
            cancel: self.settings.cancel.clone(),
            idle_timeout: self.settings.idle_timeout,
            more_follows: take.more,
            progress,
            ..TransferSettings::default()
        };
        let sparse = Sparse::between(&take.from, &self.to, &positions, &settings);
        let mut machine = Machine::new(
            Kernel::default(),
            (take.source, take.from, Wire::Plain),
            (self.sink.as_fd(), self.to.clone(), self.wire.clone()),
            plan,
            positions,
            sparse,
            settings,
        )?;
        let sent = drive_poll::drive(&mut machine).map_err(Error::into_cause);
        let (counters, calls, position) = machine.account();
        drop(machine);
        self.account.calls += calls;
        self.position = position;
        Ok((counters, sent))
    }

    /// Sends what the sink's TLS still has in this process: a transfer of no bytes does that.
    fn flush_layer(&mut self) -> Result<(), Cause> {
        if self.wire.is_plain() {
            return Ok(());
        }
        let (_, flushed) = self.transfer(Take {
            source: Memory::new([]),
            from: Endpoint::assumed(Kind::Memory),
            range: 0..0,
            route: Some(Route::ReadWrite),
            more: false,
        })?;
        flushed
    }

    /// Restores the sink's flags, and makes the receipt.
    pub(super) fn finish(self, complete: bool) -> Receipt {
        let fd = self.sink.as_fd();
        if self.was_blocking {
            reblock(fd);
        }
        let mut to = self.to.clone();
        if to.kind == Kind::Tcp && self.account.bytes > 0 {
            to.egress = peer_of(fd).and_then(|peer| Egress::recent(fd, peer).ok());
        }
        let source = Party {
            kind: Kind::File,
            name: self
                .settings
                .source_name
                .unwrap_or_else(|| "parts".to_owned()),
            tls: None,
        };
        let sink = Party {
            kind: to.kind,
            name: named(self.settings.sink_name, fd, to.kind),
            tls: to.tls.clone(),
        };
        self.account
            .receipt(source, (sink, &to), self.wire.unsent(), complete)
    }
}

fn named(given: Option<String>, fd: BorrowedFd<'_>, kind: Kind) -> String {
    given.unwrap_or_else(|| name_of(fd, kind))
}
