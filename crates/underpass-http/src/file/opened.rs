//! A regular file that was opened to be served, and its state when it was looked at.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, fstat, statx};
use rustix::time::{ClockId, clock_gettime};

use super::residency;
use crate::sys::Mapping;

/// Files up to this size are read once and written from memory: behind a response head one send(2) of both is not dearer
/// than sendfile(2) up to here (see DESIGN.md), and there is nothing to map, warm or truncate.
pub(crate) const IN_MEMORY_UP_TO: u64 = 8 << 10;

/// How often a small file that changes while it is read is read again. One try takes a few microseconds.
const READ_TRIES: usize = 16;

/// Two changes of a file within this time may leave it with the same times, so that nothing tells them apart: a tick of
/// the kernel's clock (10 ms at 100 Hz), twice. Since Linux 6.13 most file systems are finer, but nothing says which.
const CLOCK_TICK: i128 = 20_000_000;

/// The same for file systems that keep whole seconds. FAT keeps even ones.
const COARSE_CLOCK_TICK: i128 = 2_000_000_000;

/// An open file, and what it was when it was opened.
pub(crate) struct OpenFile {
    file: File,
    version: Version,
    kind: FileType,
}

/// Where a file's bytes are taken from.
#[derive(Clone)]
pub(crate) enum Content {
    /// A small file, as it was when it was read.
    Memory(Bytes),
    /// Mapped, so that a transport recognises it.
    Mapped(Arc<Mapping>),
    /// A file system that cannot map, or no address space left: read through a buffer.
    Unmapped(Arc<OpenFile>),
}

impl Content {
    /// Up to `count` bytes of the file's beginning.
    ///
    /// # Errors
    /// What reading gave; `WouldBlock` if it may not `wait` and would have to.
    pub(crate) fn beginning(&self, count: usize, wait: bool) -> io::Result<Vec<u8>> {
        let file = match self {
            Self::Memory(bytes) => return Ok(bytes[..count.min(bytes.len())].to_vec()),
            Self::Mapped(mapping) => mapping.file(),
            Self::Unmapped(file) => file,
        };
        let mut bytes = vec![0; count];
        let read = residency::read(file.file(), &mut bytes, 0, wait)?;
        bytes.truncate(read);
        Ok(bytes)
    }
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

    /// Whether the file may change once more without this telling: it changed just now, as far as its clock is fine.
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

    /// Whether another version may have the same size and times for a time that people notice: those are whole seconds, and
    /// it changed just now.
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

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(crate) fn is_regular(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether it still is what it was. One fstat(2), which waits for the server of a remote file system.
    pub(crate) fn is_current(&self) -> bool {
        fstat(&self.file).is_ok_and(|stat| Version::of(&stat) == self.version)
    }

    /// Whether its bytes may still be sent as those of this version, the next of them being at `at`. Asks what the kernel
    /// knows, and never waits.
    ///
    /// A file that only grew passes: logs are appended to all the time, and what they began with stays. So does one
    /// that lost its name, or got another mode: only its content counts.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file has become shorter, `InvalidData` if it was written to; what statx(2) gave.
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
        read_whole(&self.file, self.version.len, false).is_ok_and(|read| read == content)
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

/// A regular file that can be sent.
pub(crate) struct Opened {
    pub(crate) content: Content,
    /// What the content is of.
    pub(crate) file: Arc<OpenFile>,
    /// Bytes of the content.
    pub(crate) len: u64,
    /// The content may be older than the file without its version telling.
    pub(crate) is_doubtful: bool,
}

impl Opened {
    /// Takes an open regular file. A small one is read, which may wait for the disk if it may `wait`.
    ///
    /// # Errors
    /// What reading a small file gave; `WouldBlock` if it may not wait and its bytes are not in the page cache;
    /// `ResourceBusy` if it is written all the time.
    pub(crate) fn new(file: OpenFile, wait: bool) -> io::Result<Self> {
        if file.version.len <= IN_MEMORY_UP_TO {
            return Self::small(file, wait);
        }
        let file = Arc::new(file);
        let content = match Mapping::new(Arc::clone(&file)) {
            Ok(mapping) => Content::Mapped(mapping),
            Err(_) => Content::Unmapped(Arc::clone(&file)),
        };
        Ok(Self {
            content,
            len: file.version.len,
            file,
            is_doubtful: false,
        })
    }

    fn small(mut file: OpenFile, wait: bool) -> io::Result<Self> {
        for _ in 0..READ_TRIES {
            if file.version.len > IN_MEMORY_UP_TO {
                return Self::new(file, wait);
            }
            let content = read_whole(&file.file, file.version.len, wait)?;
            let now = OpenFile::new(file.file)?;
            // Files that the kernel makes up (sysfs) have fewer bytes than they say: what was read counts.
            if now.version == file.version {
                return Ok(Self {
                    len: content.len() as u64,
                    content: Content::Memory(content.into()),
                    is_doubtful: now.version.may_hide_a_change(),
                    file: Arc::new(now),
                });
            }
            file = now;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}

fn read_whole(file: &File, len: u64, wait: bool) -> io::Result<Vec<u8>> {
    let mut content = vec![0; len.min(IN_MEMORY_UP_TO) as usize];
    let mut filled = 0;
    while filled < content.len() {
        match residency::read(file, &mut content[filled..], filled as u64, wait) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    content.truncate(filled);
    Ok(content)
}

/// The file ended before `at`.
pub(crate) fn truncated(at: u64) -> io::Error {
    let message = format!("the file was truncated while it was sent: it has no byte {at} any more");
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}
