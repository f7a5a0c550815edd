//! An open file, and its state when it was looked at.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, fstat, statx};
use rustix::time::{ClockId, clock_gettime};

use super::page_cache;

/// Two changes of a file within this time may leave it with the same times, so that nothing tells
/// them apart: a tick of the kernel's clock (10 ms at 100 Hz), twice. Since Linux 6.13 most file
/// systems are finer, but nothing says which.
const CLOCK_TICK: i128 = 20_000_000;

/// The same for file systems that keep whole seconds. FAT keeps even ones.
const COARSE_CLOCK_TICK: i128 = 2_000_000_000;

/// An open file, and what it was when it was opened.
pub(crate) struct OpenFile {
    file: File,
    version: Version,
    kind: FileType,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) len: u64,
    /// Seconds and nanoseconds, as the next.
    pub(crate) modified: (i64, i64),
    pub(crate) changed: (i64, i64),
}

impl Version {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            device: stat.st_dev,
            inode: stat.st_ino,
            len: stat.st_size as u64,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }

    /// Whether the file may change once more without this telling: it changed just now, as far as
    /// its clock is fine.
    pub(crate) fn may_hide_a_change(&self) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let now = clock_gettime(ClockId::Realtime);
        let nanos = |seconds, nanoseconds| i128::from(seconds) * 1_000_000_000 + nanoseconds;
        let age =
            nanos(now.tv_sec, i128::from(now.tv_nsec)) - nanos(seconds, i128::from(nanoseconds));
        let tick = if nanoseconds == 0 {
            COARSE_CLOCK_TICK
        } else {
            CLOCK_TICK
        };
        age.abs() < tick
    }

    /// Whether another version may have the same size and times for a time that people notice:
    /// those are whole seconds, and it changed just now.
    pub(crate) fn may_have_a_double(&self) -> bool {
        self.changed.1 == 0 && self.may_hide_a_change()
    }
}

impl OpenFile {
    /// # Errors
    /// What fstat(2) gave.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let stat = fstat(&file)?;
        Ok(Self {
            version: Version::of(&stat),
            kind: FileType::from_raw_mode(stat.st_mode),
            file,
        })
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn into_file(self) -> File {
        self.file
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(crate) fn is_regular(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether it still is what it was. One fstat(2), which waits for the server of a remote file
    /// system.
    pub(crate) fn is_current(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| Version::of(&stat) == self.version)
    }

    /// Whether its bytes may still be sent as those of this version, the next of them being at
    /// `at`. Asks what the kernel knows, and never waits.
    ///
    /// A file that only grew passes: logs are appended to all the time, and what they began with
    /// stays. So does one that lost its name, or got another mode: only its content counts.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file has become shorter, `InvalidData` if it was written to; what
    /// statx(2) gave.
    pub(crate) fn check(&self, at: u64) -> io::Result<()> {
        let (len, modified) = self.known_size_and_time()?;
        if len < self.version.len {
            Err(truncated(len))
        } else if len > self.version.len || modified == self.version.modified {
            Ok(())
        } else {
            let message =
                format!("the file was changed while it was sent: byte {at} is of another version");
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }

    /// Whether it reads as `content`, as far as that can be told without waiting.
    pub(crate) fn reads_as(&self, content: &[u8]) -> bool {
        self.read_whole(false).is_ok_and(|read| read == content)
    }

    /// All of its bytes, of which there may be fewer than its version says: files that the kernel
    /// makes up (sysfs).
    ///
    /// # Errors
    /// What reading gave; `WouldBlock` if it may not `wait` and would have to.
    pub(crate) fn read_whole(&self, wait: bool) -> io::Result<Vec<u8>> {
        let mut content = vec![0; self.version.len as usize];
        let mut filled = 0;
        while filled < content.len() {
            match page_cache::read(&self.file, &mut content[filled..], filled as u64, wait) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        content.truncate(filled);
        Ok(content)
    }

    fn known_size_and_time(&self) -> io::Result<(u64, (i64, i64))> {
        let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
        if let Ok(now) = statx(&self.file, "", flags, StatxFlags::SIZE | StatxFlags::MTIME) {
            let modified = now.stx_mtime;
            return Ok((now.stx_size, (modified.tv_sec, modified.tv_nsec.into())));
        }
        // A filter of system calls that is older than statx(2) may give any error.
        let now = Version::of(&fstat(&self.file)?);
        Ok((now.len, now.modified))
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// The file ended before `at`.
pub(crate) fn truncated(at: u64) -> io::Error {
    let message = format!("the file was truncated while it was sent: it has no byte {at} any more");
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}
