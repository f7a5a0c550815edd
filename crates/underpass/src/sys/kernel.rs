//! The running kernel, with a count of the calls made to it.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::time::Duration;

use rustix::event::{PollFd, Timespec};
use rustix::fd::OwnedFd;
use rustix::fs::SeekFrom;
use rustix::io::ReadWriteFlags;
use rustix::net::{RecvFlags, SendFlags, recv};
use rustix::pipe::{PipeFlags, SpliceFlags};

use crate::layer::{CallError, Control, Layer};

use super::{
    Check, Fd, LayerResult, Notification, Result, Sys, Window, clone_range, tcp, zerocopy,
};

/// Makes the real system calls and counts them.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    calls: Cell<u64>,
}

impl Kernel {
    fn count(&self) {
        self.calls.set(self.calls.get() + 1);
    }

    /// Counts the calls that a layer makes.
    fn counted<T>(
        &self,
        layer: &dyn Layer,
        call: impl FnOnce() -> io::Result<T>,
    ) -> LayerResult<T> {
        let before = layer.syscalls();
        let done = call();
        let made = layer.syscalls().saturating_sub(before);
        self.calls.set(self.calls.get() + made);
        done.map_err(CallError::from)
    }
}

impl Sys for Kernel {
    fn calls(&self) -> u64 {
        self.calls.get()
    }

    fn sendfile(&self, out: Fd, input: Fd, offset: Option<&mut u64>, len: usize) -> Result<usize> {
        self.count();
        rustix::fs::sendfile(out, input, offset, len)
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
        self.count();
        rustix::pipe::splice(input, off_in, out, off_out, len, flags)
    }

    fn tee(&self, input: Fd, out: Fd, len: usize, flags: SpliceFlags) -> Result<usize> {
        self.count();
        rustix::pipe::tee(input, out, len, flags)
    }

    fn copy_file_range(
        &self,
        input: Fd,
        off_in: &mut u64,
        out: Fd,
        off_out: &mut u64,
        len: usize,
    ) -> Result<usize> {
        self.count();
        rustix::fs::copy_file_range(input, Some(off_in), out, Some(off_out), len)
    }

    fn clone_range(&self, input: Fd, off_in: u64, len: u64, out: Fd, off_out: u64) -> Result<()> {
        self.count();
        clone_range::clone_range(input, off_in, len, out, off_out)
    }

    fn read(&self, fd: Fd, buffer: &mut [u8]) -> Result<usize> {
        self.count();
        rustix::io::read(fd, buffer)
    }

    fn pread(&self, fd: Fd, buffer: &mut [u8], offset: u64) -> Result<usize> {
        self.count();
        rustix::io::pread(fd, buffer, offset)
    }

    fn write(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.count();
        rustix::io::write(fd, buffer)
    }

    fn send_more(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.count();
        rustix::net::send(fd, buffer, SendFlags::MORE | SendFlags::NOSIGNAL)
    }

    fn pwrite(&self, fd: Fd, buffer: &[u8], offset: u64) -> Result<usize> {
        self.count();
        rustix::io::pwrite(fd, buffer, offset)
    }

    fn write_nowait(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        /// "If the offset argument is -1, then the current file offset is used" (preadv2(2)).
        const AT_CURSOR: u64 = u64::MAX;
        self.count();
        rustix::io::pwritev2(
            fd,
            &[IoSlice::new(buffer)],
            AT_CURSOR,
            ReadWriteFlags::NOWAIT,
        )
    }

    fn send_zerocopy(&self, fd: Fd, buffer: &[u8]) -> Result<usize> {
        self.count();
        let flags = zerocopy::MSG_ZEROCOPY | SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::send(fd, buffer, flags)
    }

    fn notification(&self, fd: Fd) -> Result<Notification> {
        self.count();
        zerocopy::receive(fd)
    }

    fn at_mark(&self, fd: Fd) -> Result<bool> {
        self.count();
        tcp::at_mark(fd)
    }

    fn peek(&self, fd: Fd) -> Result<usize> {
        self.count();
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        recv(fd, &mut [0], flags).map(|(count, _)| count)
    }

    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize> {
        self.count();
        // A wait that the kernel's `timespec` cannot express becomes a wait without a limit.
        let timeout = timeout.and_then(|t| Timespec::try_from(t).ok());
        rustix::event::poll(fds, timeout.as_ref())
    }

    fn seek(&self, fd: Fd, to: SeekFrom) -> Result<u64> {
        self.count();
        rustix::fs::seek(fd, to)
    }

    fn size(&self, fd: Fd) -> Result<u64> {
        self.count();
        rustix::fs::fstat(fd).map(|stat| stat.st_size as u64)
    }

    fn truncate(&self, fd: Fd, len: u64) -> Result<()> {
        self.count();
        rustix::fs::ftruncate(fd, len)
    }

    fn map(&self, fd: Fd, offset: u64, len: usize) -> Result<Window> {
        self.count();
        Window::map(fd, offset, len)
    }

    fn pipe(&self) -> Result<(OwnedFd, OwnedFd)> {
        self.count();
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)
    }

    fn set_pipe_size(&self, fd: Fd, size: usize) -> Result<usize> {
        self.count();
        rustix::pipe::fcntl_setpipe_size(fd, size)
    }

    fn layer_send(
        &self,
        layer: &dyn Layer,
        fd: Fd,
        bytes: &[u8],
        check: Check<'_>,
    ) -> LayerResult<usize> {
        let slices = [IoSlice::new(bytes)];
        self.counted(layer, || layer.send_checked(fd, &slices, false, check))
    }

    fn layer_receive(&self, layer: &dyn Layer, fd: Fd, buffer: &mut [u8]) -> LayerResult<usize> {
        self.counted(layer, || layer.receive(fd, buffer))
    }

    fn layer_control(&self, layer: &dyn Layer, fd: Fd) -> LayerResult<Control> {
        self.counted(layer, || layer.control(fd))
    }

    fn layer_sent(&self, layer: &dyn Layer, fd: Fd, count: u64) -> LayerResult<()> {
        self.counted(layer, || layer.sent(fd, count))
    }

    fn layer_flush(&self, layer: &dyn Layer, fd: Fd) -> LayerResult<()> {
        self.counted(layer, || layer.flush(fd))
    }
}
