//! One file, directory or link of a tree.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::io::{Errno, retry_on_intr};

/// A file, directory or link, as a [`Walk`](super::Walk) found it.
///
/// It holds the open directory that listed it. So it can be opened later, whatever the names above
/// it lead to by then.
#[derive(Clone, Debug)]
pub struct Entry {
    path: Vec<u8>,
    kind: EntryKind,
    metadata: Metadata,
    place: Place,
}

/// What an [`Entry`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory. Its path ends with a slash.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it leads, as it is written.
        target: Vec<u8>,
    },
    /// Another name of a file that was listed before.
    HardLink {
        /// The path under which the file was listed.
        first: Vec<u8>,
    },
}

/// What stat(2) said about an [`Entry`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The length of a file's content, in bytes.
    pub size: u64,
    /// The permissions: the lowest 12 bits of the mode.
    pub mode: u32,
    /// The time of the last change of the content, in seconds since 1970.
    pub mtime: i64,
    /// The nanoseconds of that time, below 1,000,000,000.
    pub mtime_nanoseconds: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The device that it is on.
    pub device: u64,
    /// Its number on that device.
    pub inode: u64,
    /// How many hard links it has.
    pub links: u64,
    /// The bytes that are allocated to it. A file with holes has fewer than its size.
    pub allocated: u64,
}

#[derive(Clone, Debug)]
pub(super) enum Place {
    /// The start of the walk itself.
    Root(Arc<OwnedFd>),
    /// In this directory, under the last component of its path.
    In(Arc<OwnedFd>),
}

impl Entry {
    pub(super) fn new(path: Vec<u8>, kind: EntryKind, stat: &Stat, place: Place) -> Self {
        let mut metadata = Metadata::of(stat);
        if kind != EntryKind::File {
            metadata.size = 0;
        }
        Self {
            path,
            kind,
            metadata,
            place,
        }
    }

    /// Its path, which begins with the name that the walk was given. A directory's ends with a
    /// slash. The names in it are bytes, not always UTF-8.
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// What it is.
    pub fn kind(&self) -> &EntryKind {
        &self.kind
    }

    /// What stat(2) said. The size is 0 unless it is a [`File`](EntryKind::File).
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Opens the file for reading.
    ///
    /// # Errors
    /// Those of open(2). `ESTALE` if its name leads to another file by now, or to what is no file.
    pub fn open(&self) -> io::Result<File> {
        let directory = match &self.place {
            Place::Root(file) => return reopen(file),
            Place::In(directory) => directory,
        };
        // The name may be a FIFO or a link by now.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let flags = flags | OFlags::CLOEXEC;
        let open = || openat(directory, self.name(), flags, Mode::empty());
        let file = retry_on_intr(open)?;
        let stat = fstat(&file)?;
        // File systems give the numbers of removed files away again, also to directories.
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let is_same = (stat.st_dev, stat.st_ino) == (self.metadata.device, self.metadata.inode);
        if !(is_file && is_same) {
            return Err(Errno::STALE.into());
        }
        Ok(file.into())
    }

    /// Its extended attributes, sorted by name: pairs of name and value.
    ///
    /// # Errors
    /// Those of llistxattr(2) and lgetxattr(2). A file system without extended attributes has none;
    /// that is not an error.
    pub fn xattrs(&self) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let path = match &self.place {
            Place::Root(file) => return read_xattrs(&descriptor_path(file), true),
            Place::In(directory) => [&descriptor_path(directory)[..], b"/", self.name()].concat(),
        };
        read_xattrs(&path, false)
    }

    /// The last component of the path.
    fn name(&self) -> &[u8] {
        let path = self.path.strip_suffix(b"/").unwrap_or(&self.path);
        let start = path.iter().rposition(|byte| *byte == b'/');
        &path[start.map_or(0, |slash| slash + 1)..]
    }
}

impl Metadata {
    /// The number of links has 32 bits on some architectures.
    #[allow(clippy::unnecessary_cast)]
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            size: stat.st_size.max(0) as u64,
            mode: stat.st_mode & 0o7777,
            mtime: stat.st_mtime,
            mtime_nanoseconds: (stat.st_mtime_nsec as u32).min(999_999_999),
            uid: stat.st_uid,
            gid: stat.st_gid,
            device: stat.st_dev,
            inode: stat.st_ino,
            links: stat.st_nlink as u64,
            allocated: (stat.st_blocks.max(0) as u64).saturating_mul(512),
        }
    }
}

/// The same file with a position of its own where `/proc` is mounted, else the same open file.
fn reopen(file: &Arc<OwnedFd>) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let path = descriptor_path(file);
    match retry_on_intr(|| openat(file, &path[..], flags, Mode::empty())) {
        Ok(opened) => Ok(opened.into()),
        Err(_) => Ok(file.as_fd().try_clone_to_owned()?.into()),
    }
}

fn descriptor_path(fd: &OwnedFd) -> Vec<u8> {
    format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes()
}

fn read_xattrs(path: &[u8], follow: bool) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let list = grow(|buffer| {
        if follow {
            rustix::fs::listxattr(path, buffer)
        } else {
            rustix::fs::llistxattr(path, buffer)
        }
    });
    let list = match list {
        Err(Errno::OPNOTSUPP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names: Vec<_> = list.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    names.retain(|name| !name.is_empty());
    names.sort_unstable();
    let mut found = Vec::new();
    for name in names {
        let value = grow(|buffer| {
            if follow {
                rustix::fs::getxattr(path, &name[..], buffer)
            } else {
                rustix::fs::lgetxattr(path, &name[..], buffer)
            }
        });
        match value {
            Ok(value) => found.push((name, value)),
            // Removed meanwhile.
            Err(Errno::NODATA) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(found)
}

/// Calls with a larger buffer until the result fits.
fn grow(mut call: impl FnMut(&mut [u8]) -> rustix::io::Result<usize>) -> Result<Vec<u8>, Errno> {
    /// The kernel's own limit of a value and of a list (XATTR_SIZE_MAX, XATTR_LIST_MAX).
    const MOST: usize = 64 << 10;
    let mut buffer = vec![0; 256];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < MOST => buffer.resize(buffer.len() * 4, 0),
            Err(errno) => return Err(errno),
        }
    }
}
