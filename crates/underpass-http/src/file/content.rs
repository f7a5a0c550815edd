//! The content of a file: in memory, mapped, or to be read.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::objects::Object;
use crate::sys::{Mapping, OpenFile, page_cache};

/// Files up to this size are read once and sent from memory. Up to here one send(2) of head and
/// content costs no more than sendfile(2) (see DESIGN.md), and there is no mapping that could be
/// truncated.
pub(crate) const IN_MEMORY_UP_TO: u64 = 8 << 10;

/// How often a small file is read again if it changes while it is read. One try takes a few
/// microseconds.
const READ_TRIES: usize = 16;

/// Where the bytes of a file come from.
#[derive(Clone)]
pub(crate) enum Content {
    /// A small file, as it was when it was read.
    Memory(Bytes),
    /// Mapped, so that the transport recognises its slices.
    Mapped(Arc<Mapping>),
    /// Not mapped, because the file system does not support it or no address space is left: the
    /// file is read into buffers.
    Unmapped(Arc<OpenFile>),
}

impl Content {
    /// The object whose bytes it has, if they are in the local file of one.
    pub(crate) fn object(&self) -> Option<Arc<dyn Object>> {
        let file = match self {
            Self::Memory(_) => return None,
            Self::Mapped(mapping) => mapping.file(),
            Self::Unmapped(file) => file,
        };
        file.object().cloned()
    }

    /// Up to `count` bytes of the file's beginning.
    ///
    /// # Errors
    ///
    /// What reading returned; `WouldBlock` if reading has to wait and `wait` is false.
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
    /// The file that the content was taken from.
    pub(crate) file: Arc<OpenFile>,
    /// Bytes of the content.
    pub(crate) len: u64,
    /// The content may be older than the file although the version is the same.
    pub(crate) may_be_outdated: bool,
}

impl Opened {
    /// Takes an open regular file. A small one is read; `wait` says whether reading may wait for
    /// the disk.
    ///
    /// # Errors
    ///
    /// What reading a small file returned; `WouldBlock` if reading has to wait and may not;
    /// `ResourceBusy` if the file keeps changing.
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
            may_be_outdated: false,
        })
    }

    fn small(mut file: OpenFile, wait: bool) -> io::Result<Self> {
        for _ in 0..READ_TRIES {
            if file.version().len > IN_MEMORY_UP_TO {
                return Self::new(file, wait);
            }
            let content = file.read_whole(wait)?;
            let read_at = *file.version();
            let now = file.renewed()?;
            // Generated files (sysfs) have fewer bytes than their size says, so the bytes that were
            // read count.
            if *now.version() == read_at {
                return Ok(Self {
                    len: content.len() as u64,
                    content: Content::Memory(content.into()),
                    may_be_outdated: now.version().may_hide_a_change(),
                    file: Arc::new(now),
                });
            }
            file = now;
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }
}
