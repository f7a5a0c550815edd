//! The ways to move bytes. Each makes one system call per step and decides nothing;
//! [`plan`](crate::plan) chooses between them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags};
use rustix::fd::BorrowedFd;
use rustix::io::Errno;

use crate::endpoint::Kind;
use crate::layer::CallError;
use crate::step::Wait;
use crate::sys::Sys;
use crate::wire::{Stop, Wire};

pub(crate) mod buffer;
pub(crate) mod copy_file_range;
pub(crate) mod pipe;
pub(crate) mod read_write;
pub(crate) mod reflink;
pub(crate) mod seal;
pub(crate) mod send_zerocopy;
pub(crate) mod sendfile;
pub(crate) mod splice;
pub(crate) mod urgent;

/// A way to move bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
#[non_exhaustive]
pub enum Route {
    /// File to file on one copy-on-write file system: the extents are shared
    /// (ioctl_ficlonerange(2)).
    Reflink,
    /// File to file inside the kernel or its file server (copy_file_range(2)).
    #[cfg_attr(feature = "serde", serde(rename = "copy_file_range"))]
    CopyFileRange,
    /// File to socket or file: the sink gets the page cache's own pages (sendfile(2)).
    Sendfile,
    /// To, from or through a pipe, by reference (splice(2)).
    Splice,
    /// Owned memory to a socket by reference (`MSG_ZEROCOPY`).
    SendZerocopy,
    /// File or memory to TLS in this process: encrypted from where it is (a file from its mapping)
    /// straight into the outgoing buffer, without being read into another one first.
    Seal,
    /// Anything to anything through a buffer in user space: two copies by the CPU, and the only way
    /// to edit.
    ReadWrite,
}

impl Route {
    /// Every route, in the order they are preferred.
    pub const ALL: [Self; 7] = [
        Self::Reflink,
        Self::CopyFileRange,
        Self::Sendfile,
        Self::Splice,
        Self::SendZerocopy,
        Self::Seal,
        Self::ReadWrite,
    ];

    /// The name used in receipts and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reflink => "reflink",
            Self::CopyFileRange => "copy_file_range",
            Self::Sendfile => "sendfile",
            Self::Splice => "splice",
            Self::SendZerocopy => "send-zerocopy",
            Self::Seal => "seal",
            Self::ReadWrite => "read-write",
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Route {
    type Err = UnknownRoute;

    /// # Errors
    /// [`UnknownRoute`], whose message lists the names.
    fn from_str(name: &str) -> Result<Self, UnknownRoute> {
        Self::ALL
            .into_iter()
            .find(|route| route.as_str() == name)
            .ok_or_else(|| UnknownRoute(name.to_owned()))
    }
}

/// No route has this name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownRoute(String);

impl fmt::Display for UnknownRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Route::ALL.map(Route::as_str).join(", ");
        write!(f, "no route is called {:?}; there are {names}", self.0)
    }
}

impl std::error::Error for UnknownRoute {}

/// The outcome of one call of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallOutcome {
    /// Bytes left the source and are in a pipe or buffer of ours.
    Took(u64),
    /// Bytes in flight reached the sink.
    Gave(u64),
    /// Bytes went from source to sink in one call.
    Passed(u64),
    /// Nothing moved: not ready.
    Blocked(Wait),
    /// Nothing moved, and another call is worth making at once.
    Again,
    /// Nothing moved, and both ends say they are ready.
    Stalled,
    /// Nothing moved: an urgent mark stops this route, and the bytes behind it have to be read
    /// (pitfall 24).
    Urgent,
    /// The source returned 0.
    End,
    /// The kernel refuses what this route needs before it moves bytes.
    Refused(Errno),
    /// Bytes of the source were lost while they were read: it is shorter than it was.
    Lost,
    /// The route works, but others are better.
    GiveUp(&'static str),
}

/// The two ends of a transfer, as a route sees them.
pub(crate) struct Ends<'a, K> {
    pub(crate) sys: &'a K,
    pub(crate) source: Source<'a>,
    pub(crate) sink: Sink<'a>,
    /// More bytes follow at once, so the socket may wait to fill a segment (pitfall 11).
    pub(crate) more: bool,
    /// More follows after this transfer, so a packet of a socket may wait for it (`MSG_MORE`).
    pub(crate) corked: bool,
}

/// Where bytes come from, and the position of the next byte if the source has offsets.
pub(crate) struct Source<'a> {
    pub(crate) origin: Origin<'a>,
    pub(crate) kind: Kind,
    /// A read may put the thread to sleep: the source is neither a file nor marked `O_NONBLOCK`.
    pub(crate) may_sleep: bool,
    pub(crate) wire: &'a Wire,
    pub(crate) position: &'a mut Option<u64>,
}

/// A descriptor to read, or memory.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    Fd(BorrowedFd<'a>),
    Memory(&'a [u8]),
}

/// Where bytes go, and the position of the next byte if the sink has offsets.
pub(crate) struct Sink<'a> {
    pub(crate) fd: BorrowedFd<'a>,
    pub(crate) kind: Kind,
    /// A write may put the thread to sleep.
    pub(crate) may_sleep: bool,
    pub(crate) wire: &'a Wire,
    pub(crate) position: &'a mut Option<u64>,
}

impl Source<'_> {
    /// The descriptor. Memory has none, and the plan gives memory no route that needs one. EBADF is
    /// what the kernel would return.
    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        match self.origin {
            Origin::Fd(fd) => Ok(fd),
            Origin::Memory(_) => Err(Errno::BADF),
        }
    }

    /// At most `len` bytes of memory from the position on; empty if the source is a descriptor.
    pub(crate) fn memory(&self, len: usize) -> &[u8] {
        let Origin::Memory(bytes) = self.origin else {
            return &[];
        };
        let from = self.position.unwrap_or(0).min(bytes.len() as u64) as usize;
        &bytes[from..from.saturating_add(len).min(bytes.len())]
    }

    /// Advances the position by `count` bytes that were read.
    pub(crate) fn advance(&mut self, count: u64) {
        advance(self.position, count);
    }
}

impl Sink<'_> {
    /// Advances the position by `count` bytes that were written.
    pub(crate) fn advance(&mut self, count: u64) {
        advance(self.position, count);
    }
}

fn advance(position: &mut Option<u64>, count: u64) {
    if let Some(position) = position {
        *position += count;
    }
}

impl<K: Sys> Ends<'_, K> {
    /// Whether `said`, the result of splice(2) on the source, is due to an urgent mark.
    pub(crate) fn stopped_by_urgent(&self, said: Result<usize, Errno>) -> Result<bool, Errno> {
        let has_marks = self.source.kind.is_stream_socket() && self.source.wire.is_plain();
        Ok(has_marks && urgent::stopped(self.sys, self.source.fd()?, said))
    }

    /// What to do if `said`, the result of splice(2) on the source, is due to a control record of
    /// TLS or to its end (pitfall 39); `None` if it is not.
    pub(crate) fn stopped_by_tls(
        &self,
        said: Result<usize, Errno>,
    ) -> Result<Option<CallOutcome>, CallError> {
        let stopped = self.source.wire.stopped(self.sys, self.source.fd()?, said);
        match stopped {
            Ok(Stop::Other) => Ok(None),
            Ok(Stop::Control) => Ok(Some(CallOutcome::Again)),
            Ok(Stop::End) => Ok(Some(CallOutcome::End)),
            Err(error) if error.would_block() => Ok(Some(CallOutcome::Blocked(Wait::Source))),
            Err(error) => Err(error),
        }
    }

    /// Which end an ambiguous EAGAIN came from (pitfall 10). splice(2) does not say; poll(2) does.
    pub(crate) fn who_blocked(&self) -> Result<CallOutcome, Errno> {
        let mut fds = [
            PollFd::from_borrowed_fd(self.source.fd()?, PollFlags::IN),
            PollFd::from_borrowed_fd(self.sink.fd, PollFlags::OUT),
        ];
        self.sys.poll(&mut fds, Some(Duration::ZERO))?;
        Ok(if fds[0].revents().is_empty() {
            CallOutcome::Blocked(Wait::Source)
        } else if fds[1].revents().is_empty() {
            CallOutcome::Blocked(Wait::Sink)
        } else {
            CallOutcome::Stalled
        })
    }

    /// Whether there is nothing left of the source, asked when the sink is a pipe that nobody reads
    /// any more: splice(2) says EPIPE before it looks at the source. Takes no byte of it.
    pub(crate) fn source_has_ended(&self) -> Result<bool, Errno> {
        let fd = self.source.fd()?;
        if self.source.kind == Kind::Pipe {
            let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
            self.sys.poll(&mut fds, Some(Duration::ZERO))?;
            return Ok(fds[0].revents() == PollFlags::HUP);
        }
        Ok(self.source.kind.is_stream_socket() && self.sys.peek(fd) == Ok(0))
    }
}

/// The outcome of a call that read `count` bytes: 0 is the end of the source.
pub(crate) fn or_end(count: usize, make: fn(u64) -> CallOutcome) -> CallOutcome {
    if count == 0 {
        CallOutcome::End
    } else {
        make(count as u64)
    }
}
