//! A regular file that was opened to be served.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use bytes::Bytes;

use super::residency;
use crate::sys::Mapping;

/// Files up to this size are read once and written from memory: behind a response head one send(2) of both is not dearer
/// than sendfile(2) up to here (see DESIGN.md), and there is nothing to map, warm or truncate.
pub(crate) const IN_MEMORY_UP_TO: u64 = 8 << 10;

/// How often a small file that changes while it is read is read again.
const READ_TRIES: usize = 3;

/// Where a file's bytes are taken from.
#[derive(Clone)]
pub(crate) enum Content {
    /// A small file, as it was when it was read.
    Memory(Bytes),
    /// Mapped, so that a transport recognises it.
    Mapped(Arc<Mapping>),
    /// A file system that cannot map, or no address space left: read through a buffer.
    Unmapped(Arc<File>),
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
        let read = residency::read(file, &mut bytes, 0, wait)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// A regular file and what it was when it was opened.
pub(crate) struct Opened {
    pub(crate) content: Content,
    pub(crate) version: Version,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Version {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) len: u64,
    pub(crate) modified: (i64, i64),
    changed: (i64, i64),
}

impl Version {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            len: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

impl Opened {
    /// Takes an open regular file. A small one is read, which may wait for the disk if it may `wait`.
    ///
    /// # Errors
    /// What reading a small file gave; `WouldBlock` if it may not wait and its bytes are not in the page cache.
    pub(crate) fn new(file: File, version: Version, wait: bool) -> io::Result<Self> {
        if version.len <= IN_MEMORY_UP_TO {
            return Self::small(&file, version, wait);
        }
        let file = Arc::new(file);
        let content = match Mapping::new(Arc::clone(&file), version.len) {
            Ok(mapping) => Content::Mapped(mapping),
            Err(_) => Content::Unmapped(file),
        };
        Ok(Self { content, version })
    }

    fn small(file: &File, mut version: Version, wait: bool) -> io::Result<Self> {
        let mut content = Vec::new();
        for _ in 0..READ_TRIES {
            content = read_whole(file, version.len, wait)?;
            let now = Version::of(&file.metadata()?);
            if now == version && content.len() as u64 == version.len {
                break;
            }
            version = now;
        }
        // What was read is what is served, under a length that is true whatever happens to the file.
        version.len = content.len() as u64;
        Ok(Self {
            content: Content::Memory(content.into()),
            version,
        })
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
