//! The directory that is served, and opening what is below it and nothing else.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::{Errno, retry_on_intr};

use crate::clock;

/// How often the root's own path is looked at again, in milliseconds: a release may have been put in its place.
const LOOK_AGAIN: u64 = 1000;

/// How often a lookup that raced with a rename is tried again (openat2(2), `EAGAIN`).
const TRIES: usize = 8;

/// What becomes of symbolic links below the root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// They are not there: 404.
    #[default]
    Refuse,
    /// They are followed as long as they stay below the root.
    Confine,
}

#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    current: Mutex<Option<(Arc<OwnedFd>, u64)>>,
}

impl Root {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            current: Mutex::new(None),
        }
    }

    /// The same path, not opened yet.
    pub(crate) fn again(&self) -> Self {
        Self::new(self.path.clone())
    }

    /// The directory that the path leads to now, or did a second ago.
    pub(crate) fn directory(&self) -> io::Result<Arc<OwnedFd>> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::now();
        if let Some((directory, at)) = &*current
            && now.saturating_sub(*at) < LOOK_AGAIN
        {
            return Ok(Arc::clone(directory));
        }
        let directory = Arc::new(open_directory(&self.path)?);
        *current = Some((Arc::clone(&directory), now));
        Ok(directory)
    }

    /// Opens `relative` for reading, wherever it leads below the root, and never outside. Without `wait` only what the
    /// kernel knows without looking at a disk is opened, and everything else is `WouldBlock`.
    ///
    /// # Errors
    /// Those of openat2(2): `EXDEV` for what leads outside, `ELOOP` for a refused symbolic link.
    pub(crate) fn open(&self, relative: &[u8], symlinks: Symlinks, wait: bool) -> io::Result<File> {
        // Not to be stopped by a FIFO without a writer; what is no regular file is refused later.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.open_as(relative, flags, symlinks, wait)?.into())
    }

    /// Opens a directory below the root to work in.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `ENOTDIR`.
    pub(crate) fn open_parent(&self, relative: &[u8], symlinks: Symlinks) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_as(relative, flags, symlinks, true)
    }

    fn open_as(
        &self,
        relative: &[u8],
        flags: OFlags,
        symlinks: Symlinks,
        wait: bool,
    ) -> io::Result<OwnedFd> {
        let directory = self.directory()?;
        let name: &[u8] = if relative.is_empty() { b"." } else { relative };
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::NO_SYMLINKS, symlinks == Symlinks::Refuse);
        resolve.set(ResolveFlags::CACHED, !wait);
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            match retry_on_intr(|| openat2(&directory, name, flags, Mode::empty(), resolve)) {
                Err(Errno::AGAIN) if wait => {}
                // RESOLVE_CACHED is Linux 5.12.
                Err(Errno::INVAL) if !wait => return Err(io::ErrorKind::WouldBlock.into()),
                result => return Ok(result?),
            }
        }
        Err(Errno::AGAIN.into())
    }
}

/// Opens the root itself, symbolic links and all.
pub(crate) fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// Whether an error of opening means that nothing is there to be served, as opposed to that it failed.
pub(crate) fn is_missing(error: &io::Error) -> bool {
    let absent = [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::LOOP,
        Errno::XDEV,
        Errno::NAMETOOLONG,
        Errno::NXIO,
        Errno::NODEV,
        Errno::INVAL,
    ];
    Errno::from_io_error(error).is_some_and(|errno| absent.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn errno(result: io::Result<File>) -> Option<Errno> {
        Errno::from_io_error(&result.unwrap_err())
    }

    #[test]
    fn nothing_outside_is_opened() {
        let outside = tempfile::tempdir().unwrap();
        let root = outside.path().join("root");
        fs::create_dir(&root).unwrap();
        fs::write(outside.path().join("secret"), "secret").unwrap();
        fs::write(root.join("file"), "file").unwrap();
        symlink("../secret", root.join("up")).unwrap();
        symlink(outside.path().join("secret"), root.join("absolute")).unwrap();
        symlink("file", root.join("inside")).unwrap();
        symlink("/proc/self/fd/0", root.join("magic")).unwrap();
        let root = Root::new(root);
        for symlinks in [Symlinks::Refuse, Symlinks::Confine] {
            for name in ["up", "absolute", "magic", "../secret", "/etc/passwd"] {
                let opened = root.open(name.as_bytes(), symlinks, true);
                let errno = errno(opened);
                assert!(
                    matches!(errno, Some(Errno::XDEV | Errno::LOOP)),
                    "{name} {symlinks:?}: {errno:?}"
                );
            }
        }
        assert_eq!(
            errno(root.open(b"inside", Symlinks::Refuse, true)),
            Some(Errno::LOOP)
        );
        assert!(root.open(b"inside", Symlinks::Confine, true).is_ok());
        assert!(root.open(b"file", Symlinks::Refuse, true).is_ok());
        assert!(root.open(b"", Symlinks::Refuse, true).is_ok());
    }

    #[test]
    fn what_the_kernel_knows_is_opened_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "file").unwrap();
        let root = Root::new(directory.path().to_owned());
        root.open(b"file", Symlinks::Refuse, true).unwrap();
        // EAGAIN is a legal answer here, any other error is not.
        if let Err(error) = root.open(b"file", Symlinks::Refuse, false) {
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        }
    }
}
