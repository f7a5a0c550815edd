//! All system calls that move bytes, and all `unsafe` code.
//!
//! [`Sys`] has one method per system call, with a signature that mirrors the man page, so that a
//! test can put a scripted kernel in its place (`sys/faulty.rs`). [`Kernel`] is the real one; it
//! counts each call it makes. Calls that only ask (usage, interface, TCP state) are in small
//! modules beside it. They are not counted, since they belong to the measuring.
#![allow(unsafe_code)]

use std::time::Duration;

use rustix::event::PollFd;
use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::SeekFrom;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use crate::layer::{CallError, Control, Layer};

pub(crate) mod cachestat;
mod clone_range;
pub(crate) mod ethtool;
#[cfg(test)]
pub(crate) mod faulty;
#[cfg(test)]
pub(crate) mod faulty_files;
pub(crate) mod files;
mod kernel;
pub(crate) mod lost_pages;
pub(crate) mod netlink;
#[cfg(feature = "tokio")]
pub(crate) mod reactor;
pub(crate) mod sockopt;
pub(crate) mod tcp;
pub(crate) mod usage;
mod window;
pub(crate) mod zerocopy;

pub(crate) use kernel::Kernel;
pub(crate) use window::Window;
pub(crate) use zerocopy::Notification;

/// The most bytes one read-like call moves (`MAX_RW_COUNT` with pages of 4 KiB, sendfile(2) NOTES).
/// Asking sendfile for more is harmless, but `usize::MAX` is EINVAL for splice.
pub(crate) const MAX_CALL: usize = 0x7fff_f000;

type Result<T> = std::result::Result<T, Errno>;
type LayerResult<T> = std::result::Result<T, CallError>;
type Fd<'a> = BorrowedFd<'a>;

/// Whether the bytes that were read are good, asked before what was made of them is sent.
pub(crate) type Check<'a> = &'a mut dyn FnMut() -> std::io::Result<()>;

/// The system calls that a transfer makes.
///
/// Offsets behave as in the man pages. With `Some`, the call uses this offset, advances it by the
/// bytes moved, and leaves the descriptor's own position alone. With `None`, it uses the
/// descriptor's position.
pub(crate) trait Sys {
    /// Calls made so far.
    fn calls(&self) -> u64;
    /// sendfile(2)
    fn sendfile(&self, out: Fd, input: Fd, offset: Option<&mut u64>, len: usize) -> Result<usize>;
    /// splice(2)
    fn splice(
        &self,
        input: Fd,
        off_in: Option<&mut u64>,
        out: Fd,
        off_out: Option<&mut u64>,
        len: usize,
        flags: SpliceFlags,
    ) -> Result<usize>;
    /// tee(2)
    fn tee(&self, input: Fd, out: Fd, len: usize, flags: SpliceFlags) -> Result<usize>;
    /// copy_file_range(2)
    fn copy_file_range(
        &self,
        input: Fd,
        off_in: &mut u64,
        out: Fd,
        off_out: &mut u64,
        len: usize,
    ) -> Result<usize>;
    /// ioctl_ficlonerange(2)
    fn clone_range(&self, input: Fd, off_in: u64, len: u64, out: Fd, off_out: u64) -> Result<()>;
    /// read(2)
    fn read(&self, fd: Fd, buffer: &mut [u8]) -> Result<usize>;
    /// pread(2)
    fn pread(&self, fd: Fd, buffer: &mut [u8], offset: u64) -> Result<usize>;
    /// write(2)
    fn write(&self, fd: Fd, buffer: &[u8]) -> Result<usize>;
    /// send(2) with `MSG_MORE`: the packet may wait for more.
    fn send_more(&self, fd: Fd, buffer: &[u8]) -> Result<usize>;
    /// pwrite(2)
    fn pwrite(&self, fd: Fd, buffer: &[u8], offset: u64) -> Result<usize>;
    /// pwritev2(2) at the descriptor's position with `RWF_NOWAIT`: EAGAIN if write(2) would sleep,
    /// whatever `O_NONBLOCK` is.
    fn write_nowait(&self, fd: Fd, buffer: &[u8]) -> Result<usize>;
    /// send(2) with `MSG_ZEROCOPY`: the kernel keeps referring to `buffer`'s pages until its
    /// [`Notification`].
    fn send_zerocopy(&self, fd: Fd, buffer: &[u8]) -> Result<usize>;
    /// recvmsg(2) with `MSG_ERRQUEUE`: the next zero-copy notification, or EAGAIN if there is none
    /// yet.
    fn notification(&self, fd: Fd) -> Result<Notification>;
    /// ioctl(2) `SIOCATMARK` of tcp(7): the next byte to be read is the urgent one.
    fn at_mark(&self, fd: Fd) -> Result<bool>;
    /// recv(2) of one byte with `MSG_PEEK` and `MSG_DONTWAIT`: 0 at the end of the stream.
    fn peek(&self, fd: Fd) -> Result<usize>;
    /// poll(2); `None` waits forever.
    fn poll(&self, fds: &mut [PollFd<'_>], timeout: Option<Duration>) -> Result<usize>;
    /// lseek(2)
    fn seek(&self, fd: Fd, to: SeekFrom) -> Result<u64>;
    /// fstat(2), its `st_size`.
    fn size(&self, fd: Fd) -> Result<u64>;
    /// ftruncate(2)
    fn truncate(&self, fd: Fd, len: u64) -> Result<()>;
    /// mmap(2), shared and read-only, with its pages put in place (`MAP_POPULATE`).
    fn map(&self, fd: Fd, offset: u64, len: usize) -> Result<Window>;
    /// pipe2(2) with `O_CLOEXEC | O_NONBLOCK`: read end, write end.
    fn pipe(&self) -> Result<(OwnedFd, OwnedFd)>;
    /// fcntl(2) `F_SETPIPE_SZ`: returns the size that the pipe got.
    fn set_pipe_size(&self, fd: Fd, size: usize) -> Result<usize>;
    /// [`Layer::send_checked`]; the calls that it makes are counted, as with those below.
    fn layer_send(
        &self,
        layer: &dyn Layer,
        fd: Fd,
        bytes: &[u8],
        check: Check<'_>,
    ) -> LayerResult<usize>;
    /// [`Layer::receive`]
    fn layer_receive(&self, layer: &dyn Layer, fd: Fd, buffer: &mut [u8]) -> LayerResult<usize>;
    /// [`Layer::control`]
    fn layer_control(&self, layer: &dyn Layer, fd: Fd) -> LayerResult<Control>;
    /// [`Layer::sent`]
    fn layer_sent(&self, layer: &dyn Layer, fd: Fd, count: u64) -> LayerResult<()>;
    /// [`Layer::flush`]
    fn layer_flush(&self, layer: &dyn Layer, fd: Fd) -> LayerResult<()>;
}
