//! The real calls of [`FileCalls`], except that chosen ones fail. Each call is logged.

use std::ffi::{CStr, CString, OsStr};
use std::sync::Mutex;

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::files::{FileCalls, Found, KernelFiles};
use super::{Fd, Result};

/// A call that was made, or that had to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FileCall {
    Open,
    Stat,
    SyncFile,
    SyncDirectory,
    SyncFileSystem,
    Close,
    /// A rename that does not replace.
    RenameNew,
    /// A rename that may replace a file.
    Rename,
    Link,
    Unlink,
    SetOwner,
    SetMode,
    Attribute,
    Lock,
}

/// A failure of the nth call of its name, or of all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(crate) call: FileCall,
    /// Which call of that name; 1 is the first, and `None` means every call.
    pub(crate) nth: Option<usize>,
    pub(crate) errno: Errno,
}

/// The real kernel, behind a script of failures.
#[derive(Debug, Default)]
pub(crate) struct FaultyFiles {
    script: Vec<Failing>,
    log: Mutex<Vec<(FileCall, bool)>>,
}

impl FaultyFiles {
    /// It lives as long as the test program, because the real calls are a static too.
    pub(crate) fn with(script: &[Failing]) -> &'static Self {
        Box::leak(Box::new(Self {
            script: script.to_vec(),
            log: Mutex::default(),
        }))
    }

    /// Every call so far, and whether it succeeded.
    pub(crate) fn log(&self) -> Vec<(FileCall, bool)> {
        self.log.lock().unwrap().clone()
    }

    fn make<T>(&self, call: FileCall, real: impl FnOnce() -> Result<T>) -> Result<T> {
        let mut log = self.log.lock().unwrap();
        let nth = 1 + log.iter().filter(|(made, _)| *made == call).count();
        let strikes = |rule: &&Failing| rule.call == call && rule.nth.is_none_or(|at| at == nth);
        let result = match self.script.iter().find(strikes) {
            Some(rule) => Err(rule.errno),
            None => real(),
        };
        log.push((call, result.is_ok()));
        result
    }
}

impl FileCalls for FaultyFiles {
    fn open(&self, dir: Fd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        self.make(FileCall::Open, || KernelFiles.open(dir, name, flags, mode))
    }

    fn stat(&self, dir: Fd, name: &OsStr) -> Result<Found> {
        self.make(FileCall::Stat, || KernelFiles.stat(dir, name))
    }

    fn sync(&self, fd: Fd) -> Result<()> {
        let mode = rustix::fs::fstat(fd)?.st_mode;
        let call = match rustix::fs::FileType::from_raw_mode(mode) {
            rustix::fs::FileType::Directory => FileCall::SyncDirectory,
            _ => FileCall::SyncFile,
        };
        self.make(call, || KernelFiles.sync(fd))
    }

    fn sync_file_system(&self, fd: Fd) -> Result<()> {
        self.make(FileCall::SyncFileSystem, || {
            KernelFiles.sync_file_system(fd)
        })
    }

    fn close(&self, fd: OwnedFd) -> Result<()> {
        // As in the kernel, the descriptor is gone even if close(2) fails.
        self.make(FileCall::Close, || KernelFiles.close(fd))
    }

    fn rename(&self, dir: Fd, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<()> {
        let call = if flags.contains(RenameFlags::NOREPLACE) {
            FileCall::RenameNew
        } else {
            FileCall::Rename
        };
        self.make(call, || KernelFiles.rename(dir, from, to, flags))
    }

    fn link(&self, dir: Fd, from: &OsStr, to: &OsStr) -> Result<()> {
        self.make(FileCall::Link, || KernelFiles.link(dir, from, to))
    }

    fn link_open(&self, file: Fd, dir: Fd, to: &OsStr) -> Result<()> {
        self.make(FileCall::Link, || KernelFiles.link_open(file, dir, to))
    }

    fn unlink(&self, dir: Fd, name: &OsStr) -> Result<()> {
        self.make(FileCall::Unlink, || KernelFiles.unlink(dir, name))
    }

    fn lock(&self, fd: Fd) -> Result<()> {
        self.make(FileCall::Lock, || KernelFiles.lock(fd))
    }

    fn set_owner(&self, fd: Fd, uid: u32, gid: u32) -> Result<()> {
        self.make(FileCall::SetOwner, || KernelFiles.set_owner(fd, uid, gid))
    }

    fn set_mode(&self, fd: Fd, mode: u32) -> Result<()> {
        self.make(FileCall::SetMode, || KernelFiles.set_mode(fd, mode))
    }

    fn attribute_names(&self, fd: Fd) -> Result<Vec<CString>> {
        self.make(FileCall::Attribute, || KernelFiles.attribute_names(fd))
    }

    fn attribute(&self, fd: Fd, name: &CStr) -> Result<Option<Vec<u8>>> {
        self.make(FileCall::Attribute, || KernelFiles.attribute(fd, name))
    }

    fn set_attribute(&self, fd: Fd, name: &CStr, value: &[u8]) -> Result<()> {
        self.make(FileCall::Attribute, || {
            KernelFiles.set_attribute(fd, name, value)
        })
    }

    fn remove_attribute(&self, fd: Fd, name: &CStr) -> Result<()> {
        self.make(FileCall::Attribute, || {
            KernelFiles.remove_attribute(fd, name)
        })
    }
}
