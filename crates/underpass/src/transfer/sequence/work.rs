//! The state machine of a sequence: it sends the parts one after the other, each by a machine of
//! its own.

use std::fs::File;
use std::mem;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, retry_on_intr};

use super::account::MEMORY;
use super::pending::{FULL, Pending};
use super::source::PartSource;
use super::{
    Account, Cause, EndedEarly, Error, GATHER_UP_TO, Part, PartKind, Parts, TransferSettings,
};
use crate::endpoint::{Endpoint, Kind, name_of, peer_of};
use crate::memory::Memory;
use crate::net::egress::Egress;
use crate::plan::{PlanOptions, plan};
use crate::receipt::{Party, Receipt};
use crate::route::Route;
use crate::step::{Step, Wait};
use crate::sys::Sys;
use crate::transfer::driven::{Awaited, Driven};
#[cfg(feature = "tokio")]
use crate::transfer::machine::FileRange;
use crate::transfer::machine::{Machine, Positions, Sparse, reblock, unblock};
use crate::transfer::settings::Progress;
use crate::transfer::setup;
use crate::wire::Wire;

/// A sequence under way.
pub(in crate::transfer) struct Work<'a, P, D: AsFd, K: Sys + Default> {
    parts: P,
    sink: Arc<D>,
    to: Endpoint,
    wire: Wire,
    /// The sink's position, if writes to it have one.
    position: Option<u64>,
    was_blocking: bool,
    settings: TransferSettings<'a>,
    pending: Pending,
    account: Account,
    /// The current transfer has it while there is one.
    sys: K,
    current: Option<Current<D, K>>,
    next: Next,
    /// How many parts were asked for and transfers begun.
    turn: u64,
    failure: Option<Cause>,
    /// What a peer with TLS had sent when it went away.
    heard: Vec<u8>,
}

/// A transfer under way.
struct Current<D: AsFd, K: Sys> {
    machine: Machine<'static, PartSource, Arc<D>, K>,
    came: Came,
}

/// Where the bytes of a transfer came from.
enum Came {
    /// From several groups of the account, in order.
    Gathered(Vec<(usize, u64)>),
    /// From one file, of this group.
    File(usize),
    /// It has none: it only flushes what is in the sink's TLS.
    Nowhere,
}

/// What is done when the current transfer is done.
enum Next {
    /// Asks for a part.
    Part,
    /// Reads a small file into memory.
    Read(FilePart),
    /// Sends a file, after what was gathered.
    Send(FilePart),
    /// Gathers this many zeros.
    Fill(u64),
    /// Sends everything, also what is in the sink's TLS.
    Flush(Then),
    End,
}

#[derive(Clone, Copy)]
enum Then {
    Part,
    End,
}

/// A range of a file, which is not empty.
struct FilePart {
    file: Arc<File>,
    from: Endpoint,
    range: Range<u64>,
}

/// What one transfer takes, and how.
struct Take {
    source: PartSource,
    from: Endpoint,
    range: Range<u64>,
    route: Option<Route>,
    /// Something follows at once.
    more: bool,
}

/// Another step can be made at once.
const GO_ON: Step = Step::Moved(0);

impl<'a, P: Parts, D: AsFd, K: Sys + Default> Work<'a, P, D, K> {
    pub(super) fn start(
        parts: P,
        sink: D,
        mut settings: TransferSettings<'a>,
        sys: K,
    ) -> Result<Self, Cause> {
        let wire = settings.sink_layer.take().map(Wire::of).unwrap_or_default();
        let fd = sink.as_fd();
        let mut to = setup::inspect_sink(fd)?.with_tls(wire.tls());
        let position = setup::cursor(fd, &to)?;
        let was_blocking = unblock(fd, &mut to).map_err(|e| Cause::Inspect("the sink", e))?;
        Ok(Self {
            parts,
            sink: Arc::new(sink),
            to,
            wire,
            position,
            was_blocking,
            settings,
            pending: Pending::default(),
            account: Account::new(),
            sys,
            current: None,
            next: Next::Part,
            turn: 0,
            failure: None,
            heard: Vec::new(),
        })
    }

    /// Asks for one part, or moves at most the budget of a transfer, or returns what to wait for.
    pub(super) fn step(&mut self) -> Result<Step, Error> {
        if let Some(cause) = &self.failure {
            return Err(Error::with_receipt(cause.clone(), self.receipt()));
        }
        self.account.time.resume();
        match self.advance() {
            Ok(step) => {
                if step == Step::Done {
                    self.settle();
                }
                Ok(step)
            }
            Err(cause) => Err(self.give_up(cause)),
        }
    }

    fn advance(&mut self) -> Result<Step, Cause> {
        if self.settings.is_cancelled() {
            return Err(Cause::Cancelled);
        }
        if let Some(step) = self.go_on()? {
            return Ok(step);
        }
        if self.pending.len() >= FULL {
            return self.send_pending(true);
        }
        match mem::replace(&mut self.next, Next::Part) {
            Next::Part => self.ask(),
            Next::Read(part) => self.read(part),
            Next::Send(part) => self.send(part),
            Next::Fill(missing) => Ok(self.fill(missing)),
            Next::Flush(then) => self.flush(then),
            Next::End => {
                self.next = Next::End;
                Ok(Step::Done)
            }
        }
    }

    /// Steps the current transfer. `None` if there is none, or none any more.
    fn go_on(&mut self) -> Result<Option<Step>, Cause> {
        let Some(current) = &mut self.current else {
            return Ok(None);
        };
        match current.machine.step() {
            Ok(Step::Done) => {
                self.end_transfer();
                Ok(None)
            }
            Ok(step) => {
                if let Step::Moved(1..) = step {
                    self.report_progress();
                }
                Ok(Some(step))
            }
            Err(error) => {
                let came = self.end_transfer();
                let (cause, heard) = error.into_cause();
                self.heard = heard;
                match cause {
                    Cause::Truncated { at, size, missing }
                        if missing > 0 && matches!(came, Some(Came::File(_))) =>
                    {
                        let cause = Cause::Truncated { at, size, missing };
                        self.ended_early(missing, cause).map(|()| None)
                    }
                    cause => Err(cause),
                }
            }
        }
    }

    fn ask(&mut self) -> Result<Step, Cause> {
        self.turn += 1;
        match self.parts.next_part() {
            Some(Part(PartKind::Memory(bytes))) => self.pending.push(MEMORY, &bytes),
            Some(Part(PartKind::File(file, range))) if range.start < range.end => {
                let from = setup::inspect(file.as_fd(), "a file")?;
                let length = range.end - range.start;
                let part = FilePart { file, from, range };
                self.next = if length <= GATHER_UP_TO && self.settings.route.is_none() {
                    Next::Read(part)
                } else {
                    Next::Send(part)
                };
            }
            Some(Part(PartKind::File(..))) => {}
            Some(Part(PartKind::Flush)) => self.next = Next::Flush(Then::Part),
            None => self.next = Next::Flush(Then::End),
        }
        Ok(GO_ON)
    }

    /// Reads a small file.
    fn read(&mut self, mut part: FilePart) -> Result<Step, Cause> {
        let group = self.account.group(&part.from);
        while part.range.start < part.range.end {
            let at = part.range.start;
            let length = (part.range.end - at) as usize;
            let sys = &self.sys;
            let read = self.pending.read(group, length, |buffer| {
                retry_on_intr(|| sys.pread(part.file.as_fd(), buffer, at))
            });
            self.account.calls = self.sys.calls();
            match read {
                Ok(0) => break,
                Ok(count) => part.range.start += count as u64,
                Err(Errno::AGAIN) => {
                    self.next = Next::Read(part);
                    return Ok(Step::Blocked(Wait::Source));
                }
                Err(errno) => {
                    let what = "pread";
                    return Err(Cause::Call { what, errno });
                }
            }
        }
        let Range { start: at, end } = part.range;
        if at < end {
            let (size, missing) = (self.sys.size(part.file.as_fd()).ok(), end - at);
            self.ended_early(missing, Cause::Truncated { at, size, missing })?;
        }
        Ok(GO_ON)
    }

    /// Sends a file; first what was gathered before it.
    fn send(&mut self, part: FilePart) -> Result<Step, Cause> {
        if self.pending.len() > 0 {
            self.next = Next::Send(part);
            return self.send_pending(true);
        }
        let group = self.account.group(&part.from);
        let take = Take {
            source: PartSource::File(part.file),
            from: part.from,
            range: part.range,
            route: self.settings.route,
            more: true,
        };
        self.begin(take, Came::File(group))
    }

    /// Asks what to do about a file that has ended.
    fn ended_early(&mut self, missing: u64, otherwise: Cause) -> Result<(), Cause> {
        match self.parts.ended_early(missing) {
            EndedEarly::FillWithZeros => {
                self.next = Next::Fill(missing);
                Ok(())
            }
            EndedEarly::Fail => Err(otherwise),
        }
    }

    fn fill(&mut self, missing: u64) -> Step {
        const ZEROS: &[u8] = &[0; FULL];
        let part = missing.min(FULL as u64);
        self.pending.push(MEMORY, &ZEROS[..part as usize]);
        if part < missing {
            self.next = Next::Fill(missing - part);
        }
        GO_ON
    }

    /// Sends what was gathered, and then what the sink's TLS still has in this process: a transfer
    /// of no bytes does that.
    fn flush(&mut self, then: Then) -> Result<Step, Cause> {
        if self.pending.len() > 0 {
            self.next = Next::Flush(then);
            return self.send_pending(false);
        }
        self.next = match then {
            Then::Part => Next::Part,
            Then::End => Next::End,
        };
        if self.wire.is_plain() {
            return Ok(GO_ON);
        }
        let take = Take {
            source: PartSource::Memory(Memory::new([])),
            from: Endpoint::assumed(Kind::Memory),
            range: 0..0,
            route: Some(Route::ReadWrite),
            more: false,
        };
        self.begin(take, Came::Nowhere)
    }

    /// Sends what was gathered. `more` says that something follows at once.
    fn send_pending(&mut self, more: bool) -> Result<Step, Cause> {
        let (bytes, runs) = self.pending.take();
        let take = Take {
            range: 0..bytes.len() as u64,
            from: Endpoint::assumed(Kind::Memory),
            source: PartSource::Memory(Memory::new(bytes)),
            // By reference it would have to wait for the kernel's report each time.
            route: Some(Route::ReadWrite),
            more,
        };
        self.begin(take, Came::Gathered(runs))
    }

    fn begin(&mut self, take: Take, came: Came) -> Result<Step, Cause> {
        self.turn += 1;
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
        let settings = TransferSettings {
            range: Some((take.range.start, Some(take.range.end))),
            promise: self.settings.promise,
            budget: self.settings.budget,
            cancel: self.settings.cancel.clone(),
            more_follows: take.more,
            is_part: true,
            ..TransferSettings::default()
        };
        let sparse = Sparse::between(&take.from, &self.to, &positions, &settings);
        let machine = Machine::new(
            mem::take(&mut self.sys),
            (take.source, take.from, Wire::Plain),
            (Arc::clone(&self.sink), self.to.clone(), self.wire.clone()),
            plan,
            positions,
            sparse,
            settings,
        )?;
        self.current = Some(Current { machine, came });
        Ok(GO_ON)
    }

    /// Adds the current transfer to the account.
    fn end_transfer(&mut self) -> Option<Came> {
        let mut current = self.current.take()?;
        let (counters, sys, position) = current.machine.account();
        drop(current.machine);
        self.account.calls = sys.calls();
        self.sys = sys;
        self.position = position;
        self.account.add_from(&current.came, counters);
        Some(current.came)
    }

    fn report_progress(&mut self) {
        let now = Progress {
            bytes: self.bytes(),
            total: None,
        };
        if let Some(progress) = &mut self.settings.progress {
            progress(now);
        }
    }

    fn give_up(&mut self, cause: Cause) -> Error {
        self.end_transfer();
        self.settle();
        self.failure = Some(cause.clone());
        Error::with_receipt(cause, self.receipt()).hearing(mem::take(&mut self.heard))
    }

    pub(in crate::transfer) fn bytes(&self) -> u64 {
        let current = self.current.as_ref();
        let moved = self.account.bytes + current.map_or(0, |it| it.machine.counters().bytes);
        moved - self.wire.unsent().min(moved)
    }

    /// The kernel that it uses.
    fn kernel(&self) -> &K {
        match &self.current {
            Some(current) => current.machine.sys(),
            None => &self.sys,
        }
    }

    #[cfg(test)]
    pub(in crate::transfer) fn sys(&self) -> &K {
        self.kernel()
    }

    /// Restores the sink's flags.
    fn settle(&mut self) {
        if mem::take(&mut self.was_blocking) {
            reblock(self.sink.as_fd());
        }
        self.account.time.end();
    }

    /// The receipt so far.
    pub(in crate::transfer) fn receipt(&self) -> Receipt {
        let is_complete =
            self.failure.is_none() && self.current.is_none() && matches!(self.next, Next::End);
        let fd = self.sink.as_fd();
        let mut account = self.account.clone();
        if let Some(current) = &self.current {
            account.calls = current.machine.sys().calls();
            account.add_from(&current.came, current.machine.counters().clone());
        }
        let mut to = self.to.clone();
        if to.kind == Kind::Tcp && account.bytes > 0 {
            to.egress = peer_of(fd).and_then(|peer| Egress::recent(fd, peer).ok());
        }
        let source_name = self.settings.source_name.clone();
        let source = Party {
            kind: Kind::File,
            name: source_name.unwrap_or_else(|| "parts".to_owned()),
            tls: None,
        };
        let sink_name = self.settings.sink_name.clone();
        let sink = Party {
            kind: to.kind,
            name: sink_name.unwrap_or_else(|| name_of(fd, to.kind)),
            tls: to.tls.clone(),
        };
        account.receipt(source, (sink, &to), self.wire.unsent(), is_complete)
    }
}

impl Account {
    fn add_from(&mut self, came: &Came, counters: crate::transfer::counters::Counters) {
        match came {
            Came::Gathered(runs) => self.add_gathered(runs, counters),
            Came::File(group) => self.add(*group, counters),
            Came::Nowhere => {}
        }
    }
}

impl<P: Parts, D: AsFd, K: Sys + Default> Driven for Work<'_, P, D, K> {
    fn step(&mut self) -> Result<Step, Error> {
        Work::step(self)
    }

    fn fail(&mut self, cause: Cause) -> Error {
        let (cause, heard) = match &mut self.current {
            Some(current) => current.machine.fail(cause).into_cause(),
            None => (cause, Vec::new()),
        };
        self.heard = heard;
        self.give_up(cause)
    }

    fn awaited(&self) -> Awaited<'_> {
        let source: Option<BorrowedFd<'_>> = match (&self.current, &self.next) {
            (Some(current), _) => current.machine.source_fd(),
            (None, Next::Read(part)) => Some(part.file.as_fd()),
            _ => None,
        };
        Awaited::new(source, self.sink.as_fd(), &self.settings)
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize, Errno> {
        self.kernel().poll(fds, timeout)
    }

    #[cfg(feature = "tokio")]
    fn reads_page_cache(&self) -> Option<FileRange<'_>> {
        match (&self.current, &self.next) {
            (Some(current), _) => current.machine.reads_page_cache(),
            (None, Next::Read(part)) if part.from.kind == Kind::File && !part.from.direct => {
                Some(FileRange {
                    file: part.file.as_fd(),
                    range: part.range.clone(),
                    beyond: part.range.end,
                })
            }
            _ => None,
        }
    }

    #[cfg(feature = "tokio")]
    fn pause(&mut self) {
        self.account.time.pause();
    }

    fn turn(&self) -> u64 {
        self.turn
    }
}

impl<P, D: AsFd, K: Sys + Default> Drop for Work<'_, P, D, K> {
    fn drop(&mut self) {
        // First the transfer, which leaves the sink's position where it came to.
        self.current = None;
        if self.was_blocking {
            reblock(self.sink.as_fd());
        }
    }
}
