//! An open file, and its version when it was opened.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{AtFlags, FileType, Stat, StatxFlags, fstat, statx};
use rustix::time::{ClockId, clock_gettime};

use super::page_cache;
use crate::objects::Object;

/// Two changes of a file within this time may get the same time stamps: two ticks of the kernel's
/// clock (10 ms at 100 Hz). Since Linux 6.13 most file systems are finer, but there is no way to
/// ask which.
const CLOCK_TICK: i128 = 20_000_000;

/// The same for file systems with times in whole seconds. FAT has even seconds only.
const COARSE_CLOCK_TICK: i128 = 2_000_000_000;

/// An open file, and its version and type when it was opened.
pub(crate) struct OpenFile {
    handle: Handle,
    version: Version,
    kind: FileType,
    is_just_fetched: bool,
}

/// Where the bytes of an open file come from.
enum Handle {
    File(File),
    /// Those that have arrived are in a local file.
    Object(Arc<dyn Object>),
}

/// The version of a file: what tells one state from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) len: u64,
    /// Modification time in seconds and nanoseconds; the field after it likewise.
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

    /// Whether the file changed so recently that another change may get the same time.
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

    /// Whether another change within a second or two may get the same time: the file changed just
    /// now, and its time seems to be in whole seconds.
    pub(crate) fn may_have_a_double(&self) -> bool {
        self.changed.1 == 0 && self.may_hide_a_change()
    }
}

impl OpenFile {
    /// # Errors
    ///
    /// What fstat(2) returned.
    pub(crate) fn new(file: File) -> io::Result<Self> {
        let stat = fstat(&file)?;
        Ok(Self {
            version: Version::of(&stat),
            kind: FileType::from_raw_mode(stat.st_mode),
            handle: Handle::File(file),
            is_just_fetched: false,
        })
    }

    /// The local file of an object.
    ///
    /// # Errors
    /// What fstat(2) returned; `UnexpectedEof` if the file is shorter than the object.
    pub(crate) fn of_object(object: Arc<dyn Object>) -> io::Result<Self> {
        let stat = fstat(object.file())?;
        if (stat.st_size as u64) < object.len() {
            return Err(truncated(stat.st_size as u64));
        }
        let modified = object.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let modified = modified.duration_since(SystemTime::UNIX_EPOCH);
        let seconds = modified.map_or(0, |it| i64::try_from(it.as_secs()).unwrap_or(0));
        Ok(Self {
            version: Version {
                len: object.len(),
                modified: (seconds, 0),
                // When bytes arrive, the local file changes, and the object does not.
                changed: (0, 0),
                ..Version::of(&stat)
            },
            kind: FileType::RegularFile,
            handle: Handle::Object(object),
            is_just_fetched: false,
        })
    }

    /// Notes whether its content was fetched from the store for whoever opened it.
    pub(crate) fn just_fetched(self, is_just_fetched: bool) -> Self {
        Self {
            is_just_fetched,
            ..self
        }
    }

    /// Whether its content was fetched from the store for whoever opened it.
    pub(crate) fn is_just_fetched(&self) -> bool {
        self.is_just_fetched
    }

    /// The object whose bytes it has, if it is the local file of one.
    pub(crate) fn object(&self) -> Option<&Arc<dyn Object>> {
        match &self.handle {
            Handle::File(_) => None,
            Handle::Object(object) => Some(object),
        }
    }

    /// Whether all of its bytes are in the local file. Never waits.
    pub(crate) fn has_arrived(&self) -> bool {
        let len = self.version.len;
        self.object().is_none_or(|it| it.present(0, len) >= len)
    }

    /// Whether both are the same version of the same file or object.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_same_object = match (self.object(), other.object()) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        };
        self.version == other.version && is_same_object
    }

    pub(crate) fn version(&self) -> &Version {
        &self.version
    }

    pub(crate) fn file(&self) -> &File {
        match &self.handle {
            Handle::File(file) => file,
            Handle::Object(object) => object.file(),
        }
    }

    /// The same file in the version that it has now.
    ///
    /// # Errors
    /// What fstat(2) returned.
    pub(crate) fn renewed(self) -> io::Result<Self> {
        match self.handle {
            Handle::File(file) => Self::new(file),
            Handle::Object(object) => Self::of_object(object),
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind == FileType::Directory
    }

    pub(crate) fn is_regular(&self) -> bool {
        self.kind == FileType::RegularFile
    }

    /// Whether the version is the same. One fstat(2), which waits for the server of a remote file
    /// system; none for an object.
    pub(crate) fn is_current(&self) -> bool {
        match &self.handle {
            Handle::File(file) => fstat(file).is_ok_and(|stat| Version::of(&stat) == self.version),
            Handle::Object(object) => object.is_fresh(),
        }
    }

    /// Checks that the content is still that of this version; `at` is the offset of the next byte
    /// to be sent. Uses what the kernel has cached, and never waits.
    ///
    /// A file that only grew passes, because appending to a log does not change its beginning. So
    /// does one that was renamed, removed, or got another mode: only the content counts. The bytes
    /// of an object that are present never change.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file is shorter, `InvalidData` if it was written to; those of
    /// statx(2).
    pub(crate) fn check(&self, at: u64) -> io::Result<()> {
        if self.object().is_some() {
            return Ok(());
        }
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

    /// Whether the file has this content. False if reading would have to wait.
    pub(crate) fn reads_as(&self, content: &[u8]) -> bool {
        self.read_whole(false).is_ok_and(|read| read == content)
    }

    /// Reads the whole file. Generated files (sysfs) may have fewer bytes than their size says.
    ///
    /// # Errors
    /// Those of reading; `WouldBlock` if it would have to wait and `wait` is false.
    pub(crate) fn read_whole(&self, wait: bool) -> io::Result<Vec<u8>> {
        let mut content = vec![0; self.version.len as usize];
        let mut filled = 0;
        while filled < content.len() {
            match page_cache::read(self.file(), &mut content[filled..], filled as u64, wait) {
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
        if let Ok(now) = statx(self.file(), "", flags, StatxFlags::SIZE | StatxFlags::MTIME) {
            let modified = now.stx_mtime;
            return Ok((now.stx_size, (modified.tv_sec, modified.tv_nsec.into())));
        }
        // A seccomp filter that does not know statx(2) may return any error.
        let now = Version::of(&fstat(self.file())?);
        Ok((now.len, now.modified))
    }
}

impl AsFd for OpenFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file().as_fd()
    }
}

/// The error for a file that was truncated before offset `at`.
pub(crate) fn truncated(at: u64) -> io::Error {
    let message = format!("the file was truncated while it was sent: it has no byte {at} any more");
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}
