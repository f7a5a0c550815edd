//! The open directories from the root down to the one that was used last.

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{Mode, OFlags, mkdirat, openat};
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
