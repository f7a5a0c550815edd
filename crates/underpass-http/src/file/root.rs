//! The directory that is served. Nothing outside it is ever opened.

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

/// How often the path of the root is looked up again, in milliseconds. A new release may have
/// replaced it.
const LOOK_AGAIN: u64 = 1000;

/// How often a lookup that raced with a rename is tried again (openat2(2), `EAGAIN`).
const TRIES: usize = 8;

/// How symbolic links below the root are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Symlinks {
    /// They are answered 404, as if they did not exist.
    #[default]
    Refuse,
    /// They are followed if they stay below the root. Absolute links that point below the root are
    /// followed, too.
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
    /// A thread is looking the path up, which may take long.
    is_looking: bool,
}

/// The root as it was opened.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    device: u64,
    /// Its file system is remote, so any call on it can take forever.
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

    /// Another root for the same path.
    pub(crate) fn clone_state(&self) -> Self {
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

    /// The directory that the path leads to, as of at most a second ago. One thread at a time looks
    /// it up again; meanwhile the others use the previous one.
    ///
    /// # Errors
    ///
    /// What opening it returned, or what the call would have to wait for.
    pub(crate) fn directory(&self, wait: Wait) -> io::Result<Arc<Directory>> {
        let mut state = self.state();
        let is_due = clock::now().saturating_sub(state.looked_at) >= LOOK_AGAIN;
        match &state.current {
            Some(directory) if !is_due || state.is_looking => return Ok(Arc::clone(directory)),
            // Only one thread looks it up, so at most one hangs with the file system.
            Some(_) if wait < Wait::Disk => return Err(Wait::Disk.is_needed()),
            None if wait < Wait::Anything => return Err(Wait::Anything.is_needed()),
            _ => state.is_looking = true,
        }
        // Not under the lock, because this can take forever.
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

    /// Opens `relative` below the root for reading. Never opens anything outside.
    ///
    /// # Errors
    ///
    /// Those of openat2(2): `EXDEV` for a path that leads outside, `ELOOP` for a refused symbolic
    /// link. If the call would have to wait for more than `wait` allows, [`Wait::needed`] tells
    /// from the error what it would wait for.
    pub(crate) fn open(&self, relative: &[u8], symlinks: Symlinks, wait: Wait) -> io::Result<File> {
        // Opening a FIFO without a writer must not block. Only regular files are served, which is
        // checked later.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        Ok(self.open_as(relative, flags, symlinks, wait)?.into())
    }

    /// Opens a directory below the root with `O_PATH`. May wait.
    ///
    /// # Errors
    /// As for [`open`](Self::open); `ENOTDIR`.
    pub(crate) fn open_parent(&self, relative: &[u8], symlinks: Symlinks) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        self.open_as(relative, flags, symlinks, Wait::Anything)
    }

    /// Resolves `relative`, following links, with `O_PATH`. May wait.
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

    /// Whether an open file is on a remote file system, so that fstat(2) can take forever. May
    /// itself wait.
    pub(crate) fn is_remote(&self, file: &OpenFile) -> bool {
        match self.directory(Wait::Nothing) {
            Ok(root) if root.device == file.version().device => root.is_remote,
            _ => is_remote(file.as_fd()),
        }
    }
}

impl Directory {
    /// Opens the root itself, following symbolic links.
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
        // Opening a file of a remote file system always asks the server, even if the kernel has it
        // cached.
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
                    // The path leads to another mount, or outside.
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

/// Whether a file system is known to be remote: served by another machine or another process.
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
    // A magic number has 32 bits, but its sign is extended on some architectures.
    fstatfs(fd).is_ok_and(|it| REMOTE.contains(&u64::from(it.f_type as u32)))
}

/// What a call may wait for. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    Nothing,
    /// The root's own file system, if it is not remote.
    Disk,
    /// Other mounts and remote file systems too, which can take forever.
    Anything,
}

impl Wait {
    /// What the call would have had to wait for, if that is why it failed.
    pub(crate) fn needed(error: &io::Error) -> Option<Self> {
        match error.kind() {
            io::ErrorKind::WouldBlock => Some(Self::Disk),
            // An error from the kernel has an errno, and means that the path leads outside.
            io::ErrorKind::CrossesDevices if error.raw_os_error().is_none() => Some(Self::Anything),
            _ => None,
        }
    }

    /// The error that [`needed`](Self::needed) recognises.
    fn is_needed(self) -> io::Error {
        match self {
            Self::Nothing | Self::Disk => io::ErrorKind::WouldBlock.into(),
            Self::Anything => io::ErrorKind::CrossesDevices.into(),
        }
    }
}

/// Whether an error means that there is nothing to be served, as opposed to a failure.
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
        // That the call would have to wait is a valid result here; any other error is not.
        if let Err(error) = root.open(b"file", Symlinks::Refuse, Wait::Nothing) {
            assert_eq!(Wait::needed(&error), Some(Wait::Disk));
        }
    }
}
