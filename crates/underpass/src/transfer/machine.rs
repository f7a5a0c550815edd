//! The state machine of a transfer. A step never waits: it moves bytes, or returns what to wait
//! for.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::{Errno, retry_on_intr};

use super::counters::Counters;
use super::input::{Input, origin};
use super::settings::{Progress, TransferSettings};
use crate::endpoint::{Endpoint, Kind};
use crate::errno;
use crate::layer::CallError;
use crate::net::discard::keep_first;
use crate::plan::{OnErrno, Plan, on_error};
use crate::receipt::Fallback;
use crate::route::buffer::Buffer;
use crate::route::pipe::Pipe;
use crate::route::send_zerocopy::{self, Sends};
use crate::route::{
    CallOutcome, Ends, Route, Sink, Source, copy_file_range, read_write, reflink, seal, sendfile,
    splice,
};
use crate::step::{Step, Wait};
use crate::sys::{MAX_CALL, Sys, Window};
use crate::transfer::error::{Cause, Error};
use crate::wire::{RECORD, Wire};

pub(super) use holes::Sparse;
use restore::Restore;
pub(super) use restore::{reblock, unblock};

mod holes;
mod receipt;
mod restore;

/// A route is given up after this many steps that move nothing although both ends are ready.
const STALLS: u32 = 16;

/// The positions of the next byte.
#[derive(Debug)]
pub(super) struct Positions {
    /// In the source, if it has offsets.
    pub(super) source: Option<u64>,
    /// In the sink, if it has offsets.
    pub(super) sink: Option<u64>,
    /// Bytes still to be taken from the source; `None` means up to its end.
    pub(super) untaken: Option<u64>,
}

/// Bytes read from the source and not yet written to the sink.
#[derive(Debug, Default)]
struct Staging {
    pipe: Option<Pipe>,
    buffer: Buffer,
}

impl Staging {
    fn held(&self) -> u64 {
        let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held);
        piped + self.buffer.held().len() as u64
    }
}

/// What lies between the machine and both descriptors.
#[derive(Debug)]
struct Wires {
    source: Wire,
    sink: Wire,
}

pub(super) struct Machine<'a, S: Input, D: AsFd, K: Sys> {
    sys: K,
    source: S,
    from: Endpoint,
    sink: D,
    to: Endpoint,
    plan: Plan,
    /// Index into the plan of the route in use.
    current: usize,
    positions: Positions,
    total: Option<u64>,
    sparse: Sparse,
    staging: Staging,
    window: Option<Window>,
    wires: Wires,
    sends: Sends,
    stalls: u32,
    /// The source is at an urgent mark, which only read(2) gets past.
    at_urgent: bool,
    /// The end of a source of unknown length was reached.
    ended: bool,
    counters: Counters,
    restore: Restore,
    settings: TransferSettings<'a>,
}

/// A range of a file.
#[cfg(feature = "tokio")]
pub(super) struct FileRange<'a> {
    pub(super) file: BorrowedFd<'a>,
    /// The range, which is not empty.
    pub(super) range: std::ops::Range<u64>,
    /// The end of a read-ahead that is as long as the range.
    pub(super) beyond: u64,
}

impl<'a, S: Input, D: AsFd, K: Sys> Machine<'a, S, D, K> {
    pub(super) fn new(
        sys: K,
        (source, mut from, source_wire): (S, Endpoint, Wire),
        (sink, mut to, sink_wire): (D, Endpoint, Wire),
        plan: Plan,
        positions: Positions,
        sparse: Sparse,
        settings: TransferSettings<'a>,
    ) -> Result<Self, Cause> {
        let source_blocking = match source.descriptor() {
            Some(fd) => {
                restore::unblock(fd, &mut from).map_err(|e| Cause::Inspect("the source", e))?
            }
            None => false,
        };
        let sink_blocking =
            restore::unblock(sink.as_fd(), &mut to).map_err(|e| Cause::Inspect("the sink", e))?;
        let source_home = match (settings.range, &sparse.extents, source.descriptor()) {
            (Some(_), Some(_), Some(fd)) => rustix::fs::tell(fd).ok(),
            _ => None,
        };
        let sends = Sends::new(plan.routes.len() == 1);
        Ok(Self {
            sys,
            source,
            from,
            sink,
            to,
            plan,
            current: 0,
            total: positions.untaken,
            positions,
            sparse,
            staging: Staging::default(),
            window: None,
            wires: Wires {
                source: source_wire,
                sink: sink_wire,
            },
            sends,
            stalls: 0,
            at_urgent: false,
            ended: false,
            counters: Counters::default(),
            restore: Restore {
                source_blocking,
                sink_blocking,
                source_home,
                settled: false,
            },
            settings,
        })
    }

    /// The part of the source file that the next step may read; `None` if the sink is a file too.
    #[cfg(feature = "tokio")]
    pub(super) fn reads_page_cache(&self) -> Option<FileRange<'_>> {
        let is_file = self.from.kind == Kind::File && !self.from.direct;
        if !is_file || self.to.kind.is_seekable() || self.staging.held() > 0 {
            return None;
        }
        let at = self.positions.source?;
        let untaken = self.positions.untaken.filter(|untaken| *untaken > 0)?;
        let budget = self.settings.budget;
        Some(FileRange {
            file: self.source.descriptor()?,
            range: at..at + untaken.min(budget),
            beyond: at + untaken.min(budget.saturating_mul(2)),
        })
    }

    /// Moves at most the budget, or returns what to wait for. An error carries the receipt so far.
    pub(super) fn step(&mut self) -> Result<Step, Error> {
        if !self.settings.is_part {
            self.counters.resume();
        }
        match self.advance() {
            Ok(Step::Moved(bytes)) if bytes > 0 => {
                self.report_progress();
                Ok(Step::Moved(bytes))
            }
            Ok(step) => Ok(step),
            Err(cause) => Err(self.fail(cause)),
        }
    }

    /// Ends the transfer with an error. Where a TLS peer has gone away, it may have said why.
    pub(super) fn fail(&mut self, cause: Cause) -> Error {
        let is_gone = match cause {
            Cause::SinkGone(_) => true,
            Cause::Call { errno, .. } => matches!(errno, Errno::PIPE | Errno::CONNRESET),
            _ => false,
        };
        let mut heard = Vec::new();
        let said = is_gone.then(|| {
            let keep = |bytes: &[u8]| keep_first(&mut heard, bytes);
            let sink = self.sink.as_fd();
            self.wires.sink.last_words(&self.sys, sink, keep)
        });
        let cause = said.flatten().map_or(cause, Cause::Layer);
        self.settle();
        Error::with_receipt(cause, self.receipt(false)).hearing(heard)
    }

    fn advance(&mut self) -> Result<Step, Cause> {
        loop {
            if self.settings.is_cancelled() {
                return Err(Cause::Cancelled);
            }
            if self.staging.held() == 0 && (self.ended || self.positions.untaken == Some(0)) {
                return self.conclude();
            }
            if let Some(skipped) = self.step_over_hole() {
                return Ok(Step::Moved(skipped));
            }
            if let Some(step) = self.call()? {
                return Ok(step);
            }
        }
    }

    /// Makes one call of the current route. `None` if nothing reached the sink and there is more to
    /// try.
    fn call(&mut self) -> Result<Option<Step>, Cause> {
        let route = self.route();
        let before = self.sys.calls();
        let flow = self.flow(route);
        self.counters.called(route, self.sys.calls() - before);
        if !matches!(flow, Ok(CallOutcome::Stalled)) {
            self.stalls = 0;
        }
        match flow {
            Ok(CallOutcome::Took(bytes)) => {
                self.took(bytes);
                self.at_urgent = false;
                Ok(self.edit())
            }
            Ok(CallOutcome::Gave(bytes)) => self.gave(route, bytes).map(Some),
            Ok(CallOutcome::Passed(bytes)) => {
                self.took(bytes);
                self.gave(route, bytes).map(Some)
            }
            Ok(CallOutcome::Blocked(wait)) => self.blocked(route, wait).map(Some),
            Ok(CallOutcome::Again) => Ok(None),
            Ok(CallOutcome::Urgent) => {
                self.at_urgent = true;
                Ok(None)
            }
            Ok(CallOutcome::Stalled) => self.stalled().map(|()| None),
            Ok(CallOutcome::End) => self.source_ended().map(|()| None),
            Ok(CallOutcome::Refused(errno)) => self
                .leave(Some(errno), "the kernel refused it")
                .map(|()| None),
            Ok(CallOutcome::Lost) => Err(self.truncated()),
            Ok(CallOutcome::GiveUp(why)) => self.leave(None, why).map(|()| None),
            Err(error) => match on_error(error, route) {
                OnErrno::Again => Ok(None),
                OnErrno::NextRoute => self
                    .leave(Some(error.errno()), "the kernel refused it")
                    .map(|()| None),
                OnErrno::Fail => Err(failed_call(route, error)),
            },
        }
    }

    /// The route of the next call: the plan's, except behind an urgent mark. Bytes there are read
    /// into the buffer and written from it, then the plan's route goes on (pitfall 24).
    fn route(&self) -> Route {
        if self.at_urgent || !self.staging.buffer.is_empty() {
            Route::ReadWrite
        } else {
            self.plan.routes[self.current].route
        }
    }

    fn flow(&mut self, route: Route) -> Result<CallOutcome, CallError> {
        let untaken = self.positions.untaken.unwrap_or(u64::MAX);
        let want = self.ahead().min(untaken).min(self.settings.budget);
        let want = match self.wires.sink {
            Wire::Kernel(_) => whole_records(want, untaken),
            _ => want,
        };
        let len = usize::try_from(want).unwrap_or(usize::MAX).min(MAX_CALL);
        // Bytes in flight have left the source already; without any, this call takes `len`.
        let follows = match self.staging.held() {
            0 => untaken > len as u64,
            _ => untaken > 0,
        };
        let mut ends = Ends {
            sys: &self.sys,
            source: Source {
                origin: origin(&self.source).ok_or(Errno::BADF)?,
                kind: self.from.kind,
                may_sleep: may_sleep(&self.from),
                wire: &self.wires.source,
                position: &mut self.positions.source,
            },
            sink: Sink {
                fd: self.sink.as_fd(),
                kind: self.to.kind,
                may_sleep: may_sleep(&self.to),
                wire: &self.wires.sink,
                position: &mut self.positions.sink,
            },
            // Only a file is sure to have the rest ready; the next byte of a stream may take long
            // (pitfall 11). Nothing ends a TLS record that is left open but the next byte (pitfall
            // 42).
            more: self.from.kind.is_seekable() && follows && self.wires.sink.is_plain(),
            corked: self.settings.more_follows && self.wires.sink.is_plain(),
        };
        let staging = &mut self.staging;
        Ok(match route {
            Route::Reflink => reflink::step(&mut ends, untaken)?,
            Route::CopyFileRange => copy_file_range::step(&mut ends, len)?,
            Route::Sendfile => sendfile::step(&mut ends, len)?,
            Route::Splice => splice::step(&mut ends, &mut staging.pipe, len)?,
            Route::SendZerocopy => send_zerocopy::step(&mut ends, &mut self.sends, len)?,
            Route::Seal => seal::step(&mut ends, &mut self.window, len)?,
            Route::ReadWrite => {
                read_write::step(&mut ends, &mut staging.pipe, &mut staging.buffer, len)?
            }
        })
    }

    /// Returns the wait. Nothing that it waits for may be consumed here.
    fn blocked(&mut self, route: Route, wait: Wait) -> Result<Step, Cause> {
        // A report left on the error queue would end every wait for the sink at once.
        if wait == Wait::Sink {
            self.tell_layer(route, 0)?;
            self.collect_answers()?;
        }
        Ok(Step::Blocked(wait))
    }

    fn took(&mut self, bytes: u64) {
        if let Some(untaken) = &mut self.positions.untaken {
            *untaken -= bytes;
        }
    }

    fn gave(&mut self, route: Route, bytes: u64) -> Result<Step, Cause> {
        self.sparse.tail = 0;
        self.counters.delivered(route, bytes);
        self.tell_layer(route, bytes)?;
        Ok(Step::Moved(bytes))
    }

    /// Tells TLS in the kernel what a call sent past its layer.
    fn tell_layer(&mut self, route: Route, bytes: u64) -> Result<(), Cause> {
        if !matches!(route, Route::Sendfile | Route::Splice) {
            return Ok(());
        }
        let before = self.sys.calls();
        let told = self.wires.sink.sent(&self.sys, self.sink.as_fd(), bytes);
        self.counters.called(route, self.sys.calls() - before);
        told.map_err(|error| failed_call(route, error))
    }

    /// Lets the program change what was read. If it keeps nothing, the step ends: otherwise an edit
    /// that drops everything would read the whole source in one step.
    fn edit(&mut self) -> Option<Step> {
        let edit = self.settings.edit.as_mut()?;
        self.staging.buffer.edit(edit);
        self.staging.buffer.is_empty().then_some(Step::Moved(0))
    }

    fn stalled(&mut self) -> Result<(), Cause> {
        self.stalls += 1;
        if self.stalls < STALLS {
            return Ok(());
        }
        self.stalls = 0;
        self.leave(Some(Errno::AGAIN), "both ends are ready, yet nothing moves")
    }

    /// The source returned 0. Before the expected length that means either a truncated file or a
    /// file system that does not support the route (pitfalls 2 and 4). The source is read only when
    /// nothing is in flight, so everything before has been delivered.
    fn source_ended(&mut self) -> Result<(), Cause> {
        if self.positions.untaken.is_none() {
            self.ended = true;
            return Ok(());
        }
        let truncated = self.truncated();
        if let Cause::Truncated {
            at,
            size: Some(size),
            ..
        } = truncated
            && size > at
        {
            return self
                .leave(None, "returned 0 before the end of the file")
                .map_err(|_| truncated);
        }
        Err(truncated)
    }

    /// The source is shorter than it was.
    fn truncated(&self) -> Cause {
        let size = match (self.from.kind, self.source.descriptor()) {
            (Kind::File, Some(fd)) => self.sys.size(fd).ok(),
            _ => None,
        };
        Cause::Truncated {
            at: self.positions.source.unwrap_or(self.counters.bytes),
            size,
            missing: self.positions.untaken.unwrap_or(0),
        }
    }

    /// Goes on with the plan's next route from the byte where this one stopped.
    fn leave(&mut self, errno: Option<Errno>, why: &'static str) -> Result<(), Cause> {
        let from = self.plan.routes[self.current].route;
        let Some(next) = self.plan.routes.get(self.current + 1) else {
            return Err(match errno {
                Some(errno) => Cause::Call {
                    what: from.as_str(),
                    errno,
                },
                None => Cause::GaveUp { route: from, why },
            });
        };
        self.counters.fallbacks.push(Fallback {
            from,
            to: next.route,
            errno: errno.map(errno::name),
            why: why.to_owned(),
            at: self.counters.bytes,
        });
        self.current += 1;
        Ok(())
    }

    /// Everything is delivered. Waits until the kernel no longer refers to the memory, and makes a
    /// hole at the end.
    fn conclude(&mut self) -> Result<Step, Cause> {
        let flushed = if self.settings.more_follows {
            Ok(())
        } else {
            self.wires.sink.flush(&self.sys, self.sink.as_fd())
        };
        match flushed {
            Ok(()) => {}
            Err(error) if error.would_block() => return Ok(Step::Blocked(Wait::Sink)),
            Err(CallError::Errno(Errno::INTR)) => return Ok(Step::Moved(0)),
            Err(error) => return Err(failed_call(self.route(), error)),
        }
        self.collect_answers()?;
        if let Some(wait) = self.sends.awaited() {
            return Ok(Step::Blocked(wait));
        }
        self.make_tail().map_err(|errno| Cause::Call {
            what: "ftruncate",
            errno,
        })?;
        self.settle();
        Ok(Step::Done)
    }

    /// Reads the kernel's reports about zero-copy sends.
    fn collect_answers(&mut self) -> Result<(), Cause> {
        let fd = self.sink.as_fd();
        let what = "zero-copy notification";
        retry_on_intr(|| self.sends.collect(&self.sys, fd))
            .map_err(|errno| Cause::Call { what, errno })
    }

    fn report_progress(&mut self) {
        let now = Progress {
            bytes: self.bytes(),
            total: self.total.filter(|_| self.settings.edit.is_none()),
        };
        if let Some(progress) = &mut self.settings.progress {
            progress(now);
        }
    }
}

/// What drivers may see of the state.
impl<S: Input, D: AsFd, K: Sys> Machine<'_, S, D, K> {
    pub(super) fn bytes(&self) -> u64 {
        self.counters.bytes - self.unsent()
    }

    /// Bytes that the sink's TLS took and that are still in this process.
    fn unsent(&self) -> u64 {
        self.wires.sink.unsent().min(self.counters.bytes)
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What was moved. Bytes count as moved that are still in the sink's TLS.
    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Of a machine that has ended: what was moved, the kernel for the next machine, and the sink's
    /// position.
    pub(super) fn account(&mut self) -> (Counters, K, Option<u64>)
    where
        K: Default,
    {
        self.settle();
        let counters = std::mem::take(&mut self.counters);
        (counters, std::mem::take(&mut self.sys), self.positions.sink)
    }

    pub(super) fn source_fd(&self) -> Option<BorrowedFd<'_>> {
        self.source.descriptor()
    }

    pub(super) fn sink_fd(&self) -> BorrowedFd<'_> {
        self.sink.as_fd()
    }

    pub(super) fn sys(&self) -> &K {
        &self.sys
    }

    pub(super) fn settings(&self) -> &TransferSettings<'_> {
        &self.settings
    }

    /// Stops counting the thread's usage until the next step.
    #[cfg_attr(not(feature = "tokio"), allow(dead_code))]
    pub(super) fn pause(&mut self) {
        self.counters.pause();
    }
}

/// Why a call of `route` failed for good.
fn failed_call(route: Route, error: CallError) -> Cause {
    match error {
        CallError::Layer(error) => Cause::Layer(error),
        CallError::Errno(errno) => Cause::Call {
            what: route.as_str(),
            errno,
        },
    }
}

/// The bytes to take for a sink with TLS in the kernel, where each call ends its record: whole
/// records, unless less is left.
fn whole_records(want: u64, untaken: u64) -> u64 {
    if want >= untaken || want < RECORD {
        want
    } else {
        want.min(MAX_CALL as u64) / RECORD * RECORD
    }
}

/// Whether a call on this end may put the thread to sleep.
fn may_sleep(endpoint: &Endpoint) -> bool {
    let never = matches!(
        endpoint.kind,
        Kind::File | Kind::PseudoFile | Kind::BlockDevice | Kind::Memory
    );
    !never && !endpoint.nonblocking
}
