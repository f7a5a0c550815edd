//! Where the bytes of a file that is served are taken from.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::sys::{Mapping, OpenFile, page_cache};

/// Files up to this size are read once and written from memory: behind a response head one send(2) of both is not dearer
/// than sendfile(2) up to here (see DESIGN.md), and there is nothing to map, warm or truncate.
pub(crate) const IN_MEMORY_UP_TO: u64 = 8 << 10;

/// How often a small file that changes while it is read is read again. One try takes a few microseconds.
const READ_TRIES: usize = 16;

/// Where a file's bytes are taken from.
#[derive(Clone)]
pub(crate) enum Content {
    /// A small file, as it was when it was read.
    Memory(Bytes),
    /// Mapped, so that a transport recognises it.
    Mapped(Arc<Mapping>),
    /// A file system that cannot map, or no address space left: read through a buffer.
    Unmapped(Arc<OpenFile>),
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
        let read = page_cache::read(file.file(), &mut bytes, 0, wait)?;
        bytes.truncate(read);
        Ok(bytes)
    }
}

/// A regular file that can be sent.
pub(crate) struct Opened {
    pub(crate) content: Content,
    /// What the content is of.
    pub(crate) file: Arc<OpenFile>,
    /// Bytes of the content.
    pub(crate) len: u64,
    /// The content may be older than the file without its version telling.
    pub(crate) is_doubtful: bool,
}

impl Opened {
    /// Takes an open regular file. A small one is read, which may wait for the disk if it may `wait`.
    ///
    /// # Errors
    /// What reading a small file gave; `WouldBlock` if it may not wait and its bytes are not in the page cache;
    /// `ResourceBusy` if it is written all the time.
    pub(crate) fn new(file: OpenFile, wait: bool) -> io::Result<Self> {
        if file.version().len <= IN_MEMORY_UP_TO {
            return Self::small(file, wait);
        }
        let file = Arc::new(file);
        let content = match Mapping::new(Arc::clone(&file)) {
            Ok(mapping) => Content::Mapped(mapping),
            Err(_) => Content::Unmapped(Arc::clone(&file)),
        };
        Ok(Self {
            content,
            len: file.version().len,
            file,
            is_doubtful: false,
        })
    }

    fn small(mut file: OpenFile, wait: bool) -> io::Result<Self> {
        for _ in 0..READ_TRIES {
            if file.version().len > IN_MEMORY_UP_TO {
                return Self::new(file, wait);
            }
            let content = file.read_whole(wait)?;
            let read_at = *file.version();
            let now = OpenFile::new(file.into_file())?;
            // Files that the kernel makes up (sysfs) have fewer bytes than they say: what was read counts.
            if *now.version() == read_at {
                return Ok(Self {
                    len: content.len() as u64,
                    content: Content::Memory(content.into()),
                    is_doubtful: now.version().may_hide_a_change(),
                    file: Arc::new(now),
                });
            }
            file = now;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}
