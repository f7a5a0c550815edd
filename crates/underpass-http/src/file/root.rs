//! The directory that is served, and opening what is below it and nothing else.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat2};
use rustix::io::{Errno, retry_on_intr};

use super::{absolute_links, descriptors};
use crate::clock;
use crate::sys::OpenFile;

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
    /// They are followed as long as they stay below the root, also those that name it by an absolute path.
    Confine,
}

#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    current: Option<Arc<Directory>>,
    /// Milliseconds of [`clock`].
    looked_at: u64,
    /// A thread is looking, and may have to wait for that.
    is_looking: bool,
}

/// The root as it was opened.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    device: u64,
    /// Asking its file system for anything can take for ever.
    is_remote: bool,
}

impl Root {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            state: Mutex::default(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Another one for the same path.
    pub(crate) fn again(&self) -> Self {
        let state = self.state();
        let state = State {
            current: state.current.clone(),
            looked_at: state.looked_at,
            is_looking: false,
        };
        Self {
            path: self.path.clone(),
            state: Mutex::new(state),
        }
    }

    /// The directory that the path leads to now, or did a second ago. One thread at a time looks again; meanwhile the
    /// others go on with what was there before.
    ///
    /// # Errors
    /// What opening it gave; what would have to be waited for.
    pub(crate) fn directory(&self, wait: Wait) -> io::Result<Arc<Directory>> {
        let mut state = self.state();
        let is_due = clock::now().saturating_sub(state.looked_at) >= LOOK_AGAIN;
        match &state.current {
            Some(directory) if !is_due || state.is_looking => return Ok(Arc::clone(directory)),
            // One thread at a time: more cannot be lost to it.
            Some(_) if wait < Wait::Disk => return Err(Wait::Disk.is_needed()),
            None if wait < Wait::Anything => return Err(Wait::Anything.is_needed()),
            _ => state.is_looking = true,
        }
        // Not under the lock: this can take for ever.
        drop(state);
        let opened = Directory::open(&self.path).map(Arc::new);
        let mut state = self.state();
        state.is_looking = false;
        let directory = opened?;
        state.looked_at = clock::now();
        state.current = Some(Arc::clone(&directory));
        Ok(directory)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens `relative` for reading, wherever it leads below the root, and never outside.
    ///
    /// # Errors
    /// Those of openat2(2): `EXDEV` for what leads outside, `ELOOP` for a refused symbolic link; that more
    /// [would be needed](Wait::needed) than to `wait` for what may be waited for.
    pub(crate) fn open(&self, relative: &[u8], symlinks: Symlinks, wait: Wait) -> io::Result<File> {
        // Not to be stopped by a FIFO without a writer; what is no regular file is refused later.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.open_as(relative, flags, symlinks, wait)?.into())
    }

    /// Opens a directory below the root to work in. May wait.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `ENOTDIR`.
    pub(crate) fn open_parent(&self, relative: &[u8], symlinks: Symlinks) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_as(relative, flags, symlinks, Wait::Anything)
    }

    /// Finds what `relative` leads to, links and all, without opening it. May wait.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub(crate) fn open_path(&self, relative: &[u8]) -> io::Result<OwnedFd> {
        self.open_as(relative, OFlags::PATH, Symlinks::Confine, Wait::Anything)
    }

    fn open_as(
        &self,
        relative: &[u8],
        flags: OFlags,
        symlinks: Symlinks,
        wait: Wait,
    ) -> io::Result<OwnedFd> {
        let directory = self.directory(wait)?;
        if directory.is_remote && wait < Wait::Anything {
            return Err(Wait::Anything.is_needed());
        }
        let opened = directory.open_below(relative, flags, symlinks, wait);
        let is_outside = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::XDEV);
        if symlinks == Symlinks::Confine && opened.as_ref().is_err_and(is_outside) {
            let paths: Vec<_> = std::fs::canonicalize(&self.path)
                .into_iter()
                .chain(std::path::absolute(&self.path))
                .collect();
            if let Some(path) = absolute_links::resolve(directory.as_fd(), &paths, relative) {
                return directory.open_below(&path, flags, Symlinks::Refuse, wait);
            }
        }
        opened
    }

    /// Whether asking for the state of an open file means to ask another machine or process. May wait for it.
    pub(crate) fn is_remote(&self, file: &OpenFile) -> bool {
        match self.directory(Wait::Nothing) {
            Ok(root) if root.device == file.version().device => root.is_remote,
            _ => is_remote(file.as_fd()),
        }
    }
}

impl Directory {
    /// Opens the root itself, symbolic links and all.
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = || rustix::fs::openat(CWD, path, flags, Mode::empty());
        let fd = descriptors::open(open)?;
        Ok(Self {
            device: rustix::fs::fstat(&fd)?.st_dev,
            is_remote: is_remote(fd.as_fd()),
            fd,
        })
    }

    fn open_below(
        &self,
        relative: &[u8],
        flags: OFlags,
        symlinks: Symlinks,
        wait: Wait,
    ) -> io::Result<OwnedFd> {
        let name: &[u8] = if relative.is_empty() { b"." } else { relative };
        let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        resolve.set(ResolveFlags::NO_SYMLINKS, symlinks == Symlinks::Refuse);
        resolve.set(ResolveFlags::CACHED, wait == Wait::Nothing);
        // Opening a file of a remote file system asks its server, whatever the kernel knows.
        resolve.set(ResolveFlags::NO_XDEV, wait < Wait::Anything);
        let flags = flags | OFlags::CLOEXEC;
        let open = || openat2(&self.fd, name, flags, Mode::empty(), resolve);
        for _ in 0..TRIES {
            match descriptors::open(|| retry_on_intr(open)) {
                Ok(opened) => return Ok(opened),
                Err(error) => match Errno::from_io_error(&error) {
                    Some(Errno::AGAIN) if wait > Wait::Nothing => {}
                    // RESOLVE_CACHED is Linux 5.12.
                    Some(Errno::INVAL) if wait == Wait::Nothing => {
                        return Err(Wait::Disk.is_needed());
                    }
                    // It leads to another mount, or outside.
                    Some(Errno::XDEV) if wait < Wait::Anything => {
                        return Err(Wait::Anything.is_needed());
                    }
                    _ => return Err(error),
                },
            }
        }
        Err(Errno::AGAIN.into())
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Whether a file system is known to be another machine's or another process's.
fn is_remote(fd: BorrowedFd<'_>) -> bool {
    const NFS: u64 = 0x6969;
    const CIFS: u64 = 0xff53_4d42;
    const SMB2: u64 = 0xfe53_4d42;
    const FUSE: u64 = 0x6573_5546;
    const CEPH: u64 = 0x00c3_6400;
    const V9FS: u64 = 0x0102_1997;
    const AFS: u64 = 0x5346_414f;
    const LUSTRE: u64 = 0x0bd0_0bd0;
    const GFS2: u64 = 0x0116_1970;
    const OCFS2: u64 = 0x7461_636f;
    const GPFS: u64 = 0x4750_4653;
    const REMOTE: [u64; 11] = [
        NFS, CIFS, SMB2, FUSE, CEPH, V9FS, AFS, LUSTRE, GFS2, OCFS2, GPFS,
    ];
    // A magic number has 32 bits; some machines extend its sign.
    fstatfs(fd).is_ok_and(|it| REMOTE.contains(&u64::from(it.f_type as u32)))
}

/// What may be waited for. The later ones mean the earlier ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    Nothing,
    /// What is mounted where the root is, if that is not remote.
    Disk,
    /// Other mounts and remote file systems, which can take for ever.
    Anything,
}

impl Wait {
    /// What would have had to be waited for, if that is what an error of opening or reading says.
    pub(crate) fn needed(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::WouldBlock => Some(Self::Disk),
            // One that the kernel gives has a number, and says that a path leads outside.
            io::ErrorKind::CrossesDevices if error.raw_os_error().is_none() => Some(Self::Anything),
            _ => None,
        }
    }

    /// The error that says it.
    fn is_needed(self) -> io::Error {
        match self {
            Self::Nothing | Self::Disk => io::ErrorKind::WouldBlock.into(),
            Self::Anything => io::ErrorKind::CrossesDevices.into(),
        }
    }
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
                let opened = root.open(name.as_bytes(), symlinks, Wait::Anything);
                let errno = errno(opened);
                assert!(
                    matches!(errno, Some(Errno::XDEV | Errno::LOOP)),
                    "{name} {symlinks:?}: {errno:?}"
                );
            }
        }
        assert_eq!(
            errno(root.open(b"inside", Symlinks::Refuse, Wait::Anything)),
            Some(Errno::LOOP)
        );
        assert!(
            root.open(b"inside", Symlinks::Confine, Wait::Anything)
                .is_ok()
        );
        assert!(root.open(b"file", Symlinks::Refuse, Wait::Anything).is_ok());
        assert!(root.open(b"", Symlinks::Refuse, Wait::Anything).is_ok());
    }

    #[test]
    fn what_the_kernel_knows_is_opened_without_waiting() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("file"), "file").unwrap();
        let root = Root::new(directory.path().to_owned());
        root.open(b"file", Symlinks::Refuse, Wait::Anything)
            .unwrap();
        // To have to wait is a legal answer here, any other error is not.
        if let Err(error) = root.open(b"file", Symlinks::Refuse, Wait::Nothing) {
            assert_eq!(Wait::needed(&error), Some(Wait::Disk));
        }
    }
}
