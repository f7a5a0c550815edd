//! The standard streams. Closed streams and failed writes are errors.

use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::stdio::{stderr, stdin, stdout};

use crate::exit::Failure;
use crate::sys;

/// One of the three standard streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandardStream {
    Input,
    Output,
    Error,
}

impl StandardStream {
    /// Whether it was closed when the process started, as by `<&-` or `>&-`.
    pub(crate) fn is_closed(self) -> bool {
        sys::was_closed(self as i32)
    }

    /// Fails if it is closed: a closed source would look empty, and a closed sink would accept
    /// everything.
    pub(crate) fn needed(self) -> Result<(), Failure> {
        if self.is_closed() {
            return Err(Failure::failed(self.closed()));
        }
        Ok(())
    }

    /// As [`needed`](Self::needed); the error says what needs the stream.
    pub(crate) fn needed_for(self, what: &str) -> Result<(), Failure> {
        if self.is_closed() {
            return Err(Failure::failed(format_args!("{what}: {}", self.closed())));
        }
        Ok(())
    }

    fn closed(self) -> String {
        let name = self.name();
        format!("{name} is closed; open it, or redirect it to /dev/null")
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Input => "standard input",
            Self::Output => "standard output",
            Self::Error => "standard error",
        }
    }

    /// Writes text. If it is a file, checks that the file system has taken it all.
    pub(crate) fn print(self, text: &[u8]) -> Result<(), Failure> {
        self.needed()?;
        self.write(text)
            .map_err(|error| Failure::failed(format_args!("{}: {error}", self.name())))
    }

    /// As [`print`](Self::print), but a reader that has gone away, as `head` does, is not a
    /// failure.
    pub(crate) fn offer(self, text: &[u8]) -> Result<(), Failure> {
        self.needed()?;
        match self.write(text) {
            Err(error) if error.kind() != ErrorKind::BrokenPipe => {
                Err(Failure::failed(format_args!("{}: {error}", self.name())))
            }
            _ => Ok(()),
        }
    }

    fn write(mut self, text: &[u8]) -> io::Result<()> {
        self.write_all(text)?;
        self.check()
    }

    /// Closes a duplicate, so that close(2) reports errors: network file systems may report a full
    /// disk only then. The stream stays open.
    pub(crate) fn check(self) -> io::Result<()> {
        if !is_file(self.as_fd()) {
            return Ok(());
        }
        underpass::atomic_file::close(self.as_fd().try_clone_to_owned()?)
    }
}

/// Writes past the standard library's handles. Those cannot tell a descriptor that is open for
/// reading only from a closed one, and treat both as if they took everything. There is no buffer
/// either, which would hide whether the bytes were written.
impl Write for StandardStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match rustix::io::write(self.as_fd(), bytes) {
            // Another process that shares the descriptor has made it non-blocking.
            Err(Errno::AGAIN) => {
                poll(&mut [PollFd::new(&self.as_fd(), PollFlags::OUT)], None)?;
                Err(ErrorKind::Interrupted.into())
            }
            written => Ok(written?),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for StandardStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Input => stdin(),
            Self::Output => stdout(),
            Self::Error => stderr(),
        }
    }
}

fn is_file(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstat(fd)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}
