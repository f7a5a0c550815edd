//! The open directories from the root down to the one that was used last.

use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, chmod, fstat, mkdirat, openat, statat};
use rustix::io::{Errno, retry_on_intr};

use super::Refusal;

/// Entries of an archive come directory by directory, so most of the path is open already.
///
/// One descriptor for each level: a path of 200 names of 255 bytes is longer than the kernel takes
/// in one call.
#[derive(Debug)]
pub(super) struct Directories {
    root: OwnedFd,
    open: Vec<(Vec<u8>, OwnedFd)>,
}

impl Directories {
    pub(super) fn below(root: OwnedFd) -> Self {
        let open = Vec::new();
        Self { root, open }
    }

    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Opens a directory, and makes what of it does not exist.
    pub(super) fn directory(&mut self, path: &[Vec<u8>]) -> Result<BorrowedFd<'_>, Refusal> {
        self.walk(path, true)
    }

    /// Opens a directory, as [`directory`](Self::directory) does, to put something into it. One of
    /// ours that forbids that to its owner is changed for as long as it takes: its own mode comes
    /// at the end.
    pub(super) fn writable(&mut self, path: &[Vec<u8>]) -> Result<BorrowedFd<'_>, Refusal> {
        if let Some((name, above)) = path.split_last() {
            let outer = self.directory(above)?;
            let found = statat(outer, &name[..], AtFlags::SYMLINK_NOFOLLOW);
            if let Ok(found) = found
                && needs_permission(&found)
            {
                permit(outer, name)?;
            }
        }
        self.directory(path)
    }

    /// Opens a directory that is there.
    pub(super) fn existing(&mut self, path: &[Vec<u8>]) -> Result<BorrowedFd<'_>, Refusal> {
        self.walk(path, false)
    }

    fn walk(&mut self, path: &[Vec<u8>], make: bool) -> Result<BorrowedFd<'_>, Refusal> {
        let both = self.open.iter().zip(path);
        let common = both.take_while(|((open, _), name)| open == *name).count();
        self.open.truncate(common);
        for name in &path[common..] {
            let inner = enter(self.innermost(), name, make)?;
            self.open.push((name.clone(), inner));
        }
        Ok(self.innermost())
    }

    fn innermost(&self) -> BorrowedFd<'_> {
        self.open
            .last()
            .map_or(self.root.as_fd(), |(_, fd)| fd.as_fd())
    }
}

fn enter(outer: BorrowedFd<'_>, name: &[u8], make: bool) -> Result<OwnedFd, Refusal> {
    if make {
        // The permissions come at the end.
        match mkdirat(outer, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match retry_on_intr(|| openat(outer, name, flags, Mode::empty())) {
        Ok(inner) => Ok(inner),
        // ELOOP or ENOTDIR: with O_DIRECTORY the kernel may say either for a link.
        Err(Errno::LOOP | Errno::NOTDIR) => Err(Refusal::Rule(
            "its path leads through something that is no directory",
        )),
        Err(errno) => Err(errno.into()),
    }
}

/// Whether a directory is ours, and its owner may not list, enter or change it.
fn needs_permission(found: &Stat) -> bool {
    FileType::from_raw_mode(found.st_mode) == FileType::Directory
        && found.st_uid == rustix::process::geteuid().as_raw()
        && found.st_mode & Mode::RWXU.as_raw_mode() != Mode::RWXU.as_raw_mode()
}

/// Lets the owner of a directory do everything in it. A link is not followed.
fn permit(outer: BorrowedFd<'_>, name: &[u8]) -> Result<(), Refusal> {
    // Without O_PATH it could not be opened if its owner may not read it.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = retry_on_intr(|| openat(outer, name, flags, Mode::empty()))?;
    let found = fstat(&directory)?;
    if needs_permission(&found) {
        let mode = Mode::from_raw_mode(found.st_mode & 0o7777) | Mode::RWXU;
        // Where /proc is not mounted, what is put into it says why it cannot.
        let _ = chmod(format!("/proc/self/fd/{}", directory.as_raw_fd()), mode);
    }
    Ok(())
}
