//! A scripted kernel, after `SQLite`'s fault injection: the real one, except that chosen calls
//! fail, stop short or return 0.
//!
//! Every call is logged, so that a test can check the calls and their flags. A transfer that loops
//! forever is stopped by a limit on the number of calls, not by a clock.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::fd::OwnedFd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use super::{Check, Fd, Kernel, LayerResult, Notification, Result, Sys, Window};
use crate::layer::{Control, Layer};

/// More calls than any transfer of the tests needs. A test that makes more is in an endless loop.
const SPINNING: usize = 100_000;

/// The calls of [`Sys`] by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Call {
    Sendfile,
    Splice,
    Tee,
    CopyFileRange,
    CloneRange,
    Read,
    Pread,
    Write,
    Pwrite,
    WriteNowait,
    SendZerocopy,
    Notification,
    AtMark,
    Peek,
    Poll,
    Seek,
    Size,
    Truncate,
    Map,
    Pipe,
    SetPipeSize,
    LayerSend,
    LayerReceive,
    LayerControl,
    LayerSent,
    LayerFlush,
}

impl Call {
    /// Whether the call moves bytes and returns how many, so that it can stop short.
    pub(crate) const fn moves_bytes(self) -> bool {
        matches!(
            self,
            Self::Sendfile
                | Self::Splice
                | Self::Tee
                | Self::CopyFileRange
                | Self::Read
                | Self::Pread
                | Self::Write
                | Self::Pwrite
                | Self::WriteNowait
                | Self::SendZerocopy
                | Self::LayerSend
                | Self::LayerReceive
        )
    }
}

/// What happens in place of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails; the real call is not made.
    Errno(Errno),
    /// The call is made, but for at most this many bytes.
    Cap(usize),
    /// The call is made for half the bytes.
    Half,
    /// The call returns 0; the real call is not made.
    Zero,
}

/// When a fault happens.
#[derive(Clone, Copy, Debug)]
struct Rule {
    call: Call,
    /// Which call of that name; 1 is the first.
    nth: usize,
    /// The fault happens at that call and at every later one.
    always: bool,
    fault: Fault,
}

/// A call that was made, or that a fault replaced.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Made {
    pub(crate) call: Call,
    /// Bytes asked for, before a fault cut them.
    pub(crate) len: usize,
    pub(crate) result: Result<usize>,
    /// splice(2) only: `SPLICE_F_MORE` was set.
    pub(crate) more: bool,
}

/// The real kernel, behind a script of faults.
#[derive(Debug, Default)]
pub(crate) struct Faulty {
    kernel: Kernel,
    rules: Vec<Rule>,
    /// Notifications that replace those of the error queue.
    answers: RefCell<VecDeque<Result<Notification>>>,
    log: RefCell<Vec<Made>>,
    /// Calls that a fault kept from the real kernel.
    kept: Cell<u64>,
    /// How many faults happened.
    struck: Cell<usize>,
}

impl Faulty {
    /// Makes `fault` happen at the `nth` call of that name, counted from 1.
    pub(crate) fn at(mut self, call: Call, nth: usize, fault: Fault) -> Self {
        self.rules.push(Rule {
            call,
            nth,
            always: false,
            fault,
        });
        self
    }

    /// Makes `fault` happen at every call of that name from the `nth` on.
    pub(crate) fn from(mut self, call: Call, nth: usize, fault: Fault) -> Self {
        self.rules.push(Rule {
            call,
            nth,
            always: true,
            fault,
        });
        self
    }

    /// Zero-copy notifications come from `answers`; after those, from the kernel.
    pub(crate) fn answering(self, answers: impl IntoIterator<Item = Result<Notification>>) -> Self {
        self.answers.borrow_mut().extend(answers);
        self
    }

    /// Every call so far.
    pub(crate) fn log(&self) -> Vec<Made> {
        self.log.borrow().clone()
    }

    /// How often `call` was made.
    pub(crate) fn count(&self, call: Call) -> usize {
        self.log.borrow().iter().filter(|m| m.call == call).count()
    }

    /// How many faults happened. It may be none, if the script waits for a call that is never made.
    pub(crate) fn struck(&self) -> usize {
        self.struck.get()
    }

    fn fault(&self, call: Call) -> Option<Fault> {
        let nth = self.count(call) + 1;
        let strikes = |rule: &&Rule| {
            rule.call == call && (rule.nth == nth || (rule.always && rule.nth <= nth))
        };
        let fault = self.rules.iter().find(strikes).map(|rule| rule.fault);
        self.struck
            .set(self.struck.get() + usize::from(fault.is_some()));
        fault
    }

    fn note(&self, call: Call, len: usize, result: Result<usize>, more: bool) {
        let mut log = self.log.borrow_mut();
        assert!(log.len() < SPINNING, "the transfer spins: {:?}", log.last());
        log.push(Made {
            call,
            len,
            result,
            more,
        });
    }

    fn keep<T>(&self, result: T) -> T {
        self.kept.set(self.kept.get() + 1);
        result
    }

    /// Makes a call that moves up to `len` bytes.
    fn moving<E: From<Errno> + Into<Errno> + Copy>(
        &self,
        call: Call,
        len: usize,
        more: bool,
        real: impl FnOnce(usize) -> std::result::Result<usize, E>,
    ) -> std::result::Result<usize, E> {
        let result = match self.fault(call) {
            Some(Fault::Errno(errno)) => self.keep(Err(errno.into())),
            Some(Fault::Zero) => self.keep(Ok(0)),
            Some(Fault::Cap(cap)) => real(len.min(cap)),
            Some(Fault::Half) => real(len.div_ceil(2)),
            None => real(len),
        };
        self.note(call, len, result.map_err(Into::into), more);
        result
    }

    /// Makes a call that succeeds as a whole or fails.
    fn whole<T, E: From<Errno> + Into<Errno> + Copy>(
        &self,
        call: Call,
        real: impl FnOnce() -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        let result = match self.fault(call) {
            Some(Fault::Errno(errno)) => self.keep(Err(errno.into())),
            _ => real(),
        };
        let count = result.as_ref().map(|_| 0).map_err(|error| (*error).into());
        self.note(call, 0, count, false);
        result
    }
}

impl Sys for Faulty {
    fn calls(&self) -> u64 {
        self.kernel.calls() + self.kept.get()
    }

    fn sendfile(&self, out: Fd, input: Fd, offset: Option<&mut u64>, len: usize) -> Result<usize> {
        self.moving(Call::Sendfile, len, false, |len| {
            self.kernel.sendfile(out, input, offset, len)
        })
    }

    fn splice(
        &self,
        input: Fd,
        off_in: Option<&mut u64>,
        out: Fd,
        off_out: Option<&mut u64>,
        len: usize,
        flags: SpliceFlags,
    ) -> Result<usize> {
        let more = flags.contains(SpliceFlags::MORE);
        self.moving(Call::Splice, len, more, |len| {
            self.kernel.splice(input, off_in, out, off_out, len, flags)
        })
    }

    fn tee(&self, input: Fd, out: Fd, len: usize, flags: SpliceFlags) -> Result<usize> {
        self.moving(Call::Tee, len, false, |len| {
            self.kernel.tee(input, out, len, flags)
        })
    }

    fn copy_file_range(
        &self,
        input: Fd,
        off_in: &mut u64,
        out: Fd,
        off_out: &mut u64,
        len: usize,
    ) -> Result<usize> {
        self.moving(Call::CopyFileRange, len, false, |len| {
            self.kernel
                .copy_file_range(input, off_in, out, off_out, len)
        })
    }

    fn clone_range(&self, input: Fd, off_in: u64, len: u64, out: Fd, off_out: u64) -> Result<()> {
        self.whole(Call::CloneRange, || {
            self.kernel.clone_range(input, off_in, len, out, off_out)
        })
    }

    fn read(&self, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
        self.moving(Call::Read, buffer.len(), false, |len| {
            self.kernel.read(fd, &mut buffer[..len])
        })
    }

    fn pread(&self, fd: Fd, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.moving(Call::Pread, buffer.len(), false, |len| {
            self.kernel.pread(fd, &mut buffer[..len], offset)
        })
    }

    fn write(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.moving(Call::Write, buffer.len(), false, |len| {
            self.kernel.write(fd, &buffer[..len])
        })
    }

    fn send_more(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.moving(Call::Write, buffer.len(), true, |len| {
            self.kernel.send_more(fd, &buffer[..len])
        })
    }

    fn pwrite(&self, fd: Fd, buffer: &[u8], offset: u64) -> Result<usize> {
        self.moving(Call::Pwrite, buffer.len(), false, |len| {
            self.kernel.pwrite(fd, &buffer[..len], offset)
        })
    }

    fn write_nowait(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.moving(Call::WriteNowait, buffer.len(), false, |len| {
            self.kernel.write_nowait(fd, &buffer[..len])
        })
    }

    fn send_zerocopy(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.moving(Call::SendZerocopy, buffer.len(), false, |len| {
            self.kernel.send_zerocopy(fd, &buffer[..len])
        })
    }

    fn notification(&self, fd: Fd) -> Result<Notification> {
        self.whole(Call::Notification, || {
            let scripted = self.answers.borrow_mut().pop_front();
            scripted.unwrap_or_else(|| self.kernel.notification(fd))
        })
    }

    fn at_mark(&self, fd: Fd) -> Result<bool> {
        self.whole(Call::AtMark, || self.kernel.at_mark(fd))
    }

    fn peek(&self, fd: Fd) -> Result<usize> {
        self.whole(Call::Peek, || self.kernel.peek(fd))
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize> {
        self.whole(Call::Poll, || self.kernel.poll(fds, timeout))
    }

    fn seek(&self, fd: Fd, to: SeekFrom) -> Result<u64> {
        self.whole(Call::Seek, || self.kernel.seek(fd, to))
    }

    fn size(&self, fd: Fd) -> Result<u64> {
        self.whole(Call::Size, || self.kernel.size(fd))
    }

    fn truncate(&self, fd: Fd, len: u64) -> Result<()> {
        self.whole(Call::Truncate, || self.kernel.truncate(fd, len))
    }

    fn map(&self, fd: Fd, offset: u64, len: usize) -> Result<Window> {
        self.whole(Call::Map, || self.kernel.map(fd, offset, len))
    }

    fn pipe(&self) -> Result<(OwnedFd, OwnedFd)> {
        self.whole(Call::Pipe, || self.kernel.pipe())
    }

    fn set_pipe_size(&self, fd: Fd, size: usize) -> Result<usize> {
        self.whole(Call::SetPipeSize, || self.kernel.set_pipe_size(fd, size))
    }

    fn layer_send(
        &self,
        layer: &dyn Layer,
        fd: Fd,
        bytes: &[u8],
        check: Check<'_>,
    ) -> LayerResult<usize> {
        self.moving(Call::LayerSend, bytes.len(), false, |len| {
            self.kernel.layer_send(layer, fd, &bytes[..len], check)
        })
    }

    fn layer_receive(&self, layer: &dyn Layer, fd: Fd, buffer: &mut [u8]) -> LayerResult<usize> {
        self.moving(Call::LayerReceive, buffer.len(), false, |len| {
            self.kernel.layer_receive(layer, fd, &mut buffer[..len])
        })
    }

    fn layer_control(&self, layer: &dyn Layer, fd: Fd) -> LayerResult<Control> {
        self.whole(Call::LayerControl, || self.kernel.layer_control(layer, fd))
    }

    fn layer_sent(&self, layer: &dyn Layer, fd: Fd, count: u64) -> LayerResult<()> {
        self.whole(Call::LayerSent, || self.kernel.layer_sent(layer, fd, count))
    }

    fn layer_flush(&self, layer: &dyn Layer, fd: Fd) -> LayerResult<()> {
        self.whole(Call::LayerFlush, || self.kernel.layer_flush(layer, fd))
    }
}
