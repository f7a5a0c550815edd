//! The system calls behind [`AtomicFile`](crate::AtomicFile): making, syncing, closing and naming a
//! file.
//!
//! Like [`Sys`](super::Sys) a trait with one method a call, so that tests can have any of them
//! fail.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::{AsRawFd, IntoRawFd};

use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FlockOperation, Gid, Mode, OFlags, RenameFlags, StatxAttributes, StatxFlags, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::{Fd, Result};

/// What stat(2) and statx(2) say about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// File type and permissions (`st_mode`).
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) links: u64,
    pub(crate) inode: u64,
    /// Seconds and nanoseconds of the last change of content or attributes (`st_ctime`).
    pub(crate) changed: (i64, u32),
    /// Append-only, immutable, root of a mount; empty if the kernel does not say.
    pub(crate) attributes: StatxAttributes,
}

/// The system calls that make, sync, close and name a file.
pub(crate) trait FileCalls: Send + Sync {
    /// openat(2)
    fn open(&self, dir: Fd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd>;
    /// statx(2) without following a link; of `dir` itself where the name is empty.
    fn stat(&self, dir: Fd, name: &OsStr) -> Result<Found>;
    /// fsync(2)
    fn sync(&self, fd: Fd) -> Result<()>;
    /// syncfs(2)
    fn sync_file_system(&self, fd: Fd) -> Result<()>;
    /// close(2). The descriptor is gone, whatever it returns.
    fn close(&self, fd: OwnedFd) -> Result<()>;
    /// renameat2(2)
    fn rename(&self, dir: Fd, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<()>;
    /// linkat(2) of a name in the same directory.
    fn link(&self, dir: Fd, from: &OsStr, to: &OsStr) -> Result<()>;
    /// linkat(2) of an open file, through `/proc/self/fd`.
    fn link_open(&self, file: Fd, dir: Fd, to: &OsStr) -> Result<()>;
    /// unlinkat(2)
    fn unlink(&self, dir: Fd, name: &OsStr) -> Result<()>;
    /// flock(2): alone, and without waiting.
    fn lock(&self, fd: Fd) -> Result<()>;
    /// fchown(2)
    fn set_owner(&self, fd: Fd, uid: u32, gid: u32) -> Result<()>;
    /// fchmod(2)
    fn set_mode(&self, fd: Fd, mode: u32) -> Result<()>;
    /// flistxattr(2)
    fn attribute_names(&self, fd: Fd) -> Result<Vec<CString>>;
    /// fgetxattr(2); `None` where there is no such attribute.
    fn attribute(&self, fd: Fd, name: &CStr) -> Result<Option<Vec<u8>>>;
    /// fsetxattr(2)
    fn set_attribute(&self, fd: Fd, name: &CStr, value: &[u8]) -> Result<()>;
    /// fremovexattr(2)
    fn remove_attribute(&self, fd: Fd, name: &CStr) -> Result<()>;
}

/// The running kernel.
#[derive(Debug)]
pub(crate) struct KernelFiles;

/// Enough for most files, which have few extended attributes or none; others take a second call.
const SHORT_LIST: usize = 1024;

impl FileCalls for KernelFiles {
    fn open(&self, dir: Fd, name: &OsStr, flags: OFlags, mode: Mode) -> Result<OwnedFd> {
        rustix::fs::openat(dir, name, flags | OFlags::CLOEXEC, mode)
    }

    fn stat(&self, dir: Fd, name: &OsStr) -> Result<Found> {
        let mut flags = AtFlags::SYMLINK_NOFOLLOW;
        flags.set(AtFlags::EMPTY_PATH, name.is_empty());
        match rustix::fs::statx(dir, name, flags, StatxFlags::BASIC_STATS) {
            Ok(found) => Ok(Found {
                mode: found.stx_mode.into(),
                uid: found.stx_uid,
                gid: found.stx_gid,
                links: found.stx_nlink.into(),
                inode: found.stx_ino,
                changed: (found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec),
                attributes: found.stx_attributes,
            }),
            // Sandboxes that are older than statx(2) refuse it with these errnos. fstatat(2) says
            // less, but works.
            Err(Errno::NOSYS | Errno::PERM) => {
                let found = rustix::fs::statat(dir, name, flags)?;
                Ok(Found {
                    mode: found.st_mode,
                    uid: found.st_uid,
                    gid: found.st_gid,
                    #[allow(clippy::useless_conversion, reason = "not an u64 on every machine")]
                    links: found.st_nlink.into(),
                    inode: found.st_ino,
                    changed: (found.st_ctime, found.st_ctime_nsec as u32),
                    attributes: StatxAttributes::empty(),
                })
            }
            Err(errno) => Err(errno),
        }
    }

    fn sync(&self, fd: Fd) -> Result<()> {
        rustix::fs::fsync(fd)
    }

    fn sync_file_system(&self, fd: Fd) -> Result<()> {
        rustix::fs::syncfs(fd)
    }

    fn close(&self, fd: OwnedFd) -> Result<()> {
        // SAFETY: the descriptor was owned, and its owner gave it up, so nobody closes it a second
        // time.
        let closed = unsafe { libc::close(fd.into_raw_fd()) };
        if closed == 0 {
            return Ok(());
        }
        let error = std::io::Error::last_os_error();
        Err(Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }

    fn rename(&self, dir: Fd, from: &OsStr, to: &OsStr, flags: RenameFlags) -> Result<()> {
        if flags.is_empty() {
            rustix::fs::renameat(dir, from, dir, to)
        } else {
            rustix::fs::renameat_with(dir, from, dir, to, flags)
        }
    }

    fn link(&self, dir: Fd, from: &OsStr, to: &OsStr) -> Result<()> {
        rustix::fs::linkat(dir, from, dir, to, AtFlags::empty())
    }

    fn link_open(&self, file: Fd, dir: Fd, to: &OsStr) -> Result<()> {
        let this = format!("/proc/self/fd/{}", file.as_raw_fd());
        rustix::fs::linkat(CWD, this, dir, to, AtFlags::SYMLINK_FOLLOW)
    }

    fn unlink(&self, dir: Fd, name: &OsStr) -> Result<()> {
        rustix::fs::unlinkat(dir, name, AtFlags::empty())
    }

    fn lock(&self, fd: Fd) -> Result<()> {
        rustix::io::retry_on_intr(|| {
            rustix::fs::flock(fd, FlockOperation::NonBlockingLockExclusive)
        })
    }

    fn set_owner(&self, fd: Fd, uid: u32, gid: u32) -> Result<()> {
        rustix::fs::fchown(fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
    }

    fn set_mode(&self, fd: Fd, mode: u32) -> Result<()> {
        rustix::fs::fchmod(fd, Mode::from_raw_mode(mode))
    }

    fn attribute_names(&self, fd: Fd) -> Result<Vec<CString>> {
        let list = sized(
            |buffer| rustix::fs::flistxattr(fd, buffer),
            || rustix::fs::flistxattr(fd, &mut [0_u8; 0][..]),
        )?;
        let names = list.split_inclusive(|&byte| byte == 0);
        Ok(names
            .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
            .map(CStr::to_owned)
            .collect())
    }

    fn attribute(&self, fd: Fd, name: &CStr) -> Result<Option<Vec<u8>>> {
        let value = sized(
            |buffer| rustix::fs::fgetxattr(fd, name, buffer),
            || rustix::fs::fgetxattr(fd, name, &mut [0_u8; 0][..]),
        );
        match value {
            Ok(value) => Ok(Some(value)),
            Err(Errno::NODATA) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    fn set_attribute(&self, fd: Fd, name: &CStr, value: &[u8]) -> Result<()> {
        rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty())
    }

    fn remove_attribute(&self, fd: Fd, name: &CStr) -> Result<()> {
        rustix::fs::fremovexattr(fd, name)
    }
}

/// Calls `get` with a short buffer, and again with one of `size` bytes if that is too short.
fn sized(
    get: impl Fn(&mut [u8]) -> Result<usize>,
    size: impl Fn() -> Result<usize>,
) -> Result<Vec<u8>> {
    let mut buffer = vec![0; SHORT_LIST];
    loop {
        match get(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            // The list may have grown meanwhile; then try again.
            Err(Errno::RANGE) => buffer.resize(size()?.max(buffer.len() + 1), 0),
            Err(errno) => return Err(errno),
        }
    }
}
