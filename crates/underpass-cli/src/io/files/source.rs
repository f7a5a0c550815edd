//! A source that is not a socket.

use std::fs::{File, Metadata};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::{descriptor, failed, inherited, is_standard, must_be_open_for};
use crate::exit::Failure;
use crate::io::StandardStream;

/// So many bytes tell text from other data: files of other kinds have zeros in their head.
pub(crate) const PEEKED: usize = 4096;

/// A file, standard input, or an inherited descriptor.
pub(crate) enum Source {
    Standard,
    Descriptor(OwnedFd, PathBuf),
    File(File, PathBuf),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        match descriptor::number(path) {
            _ if is_standard(path) => {}
            Some(0) => {}
            Some(number) => {
                let source = Self::Descriptor(inherited(number, path)?, path.to_owned());
                must_be_open_for("reading", &source, &source.name())?;
                return Ok(source);
            }
            None => return Self::open_file(path),
        }
        StandardStream::Input.needed()?;
        must_be_open_for("reading", StandardStream::Input, &Self::Standard.name())?;
        Ok(Self::Standard)
    }

    fn open_file(path: &Path) -> Result<Self, Failure> {
        let file = File::open(path).map_err(|error| failed(path, &error))?;
        let metadata = file.metadata().map_err(|error| failed(path, &error))?;
        if metadata.is_dir() {
            return Err(Failure::failed(format_args!(
                "{}: is a directory; name a file",
                path.display()
            )));
        }
        Ok(Self::File(file, path.to_owned()))
    }

    /// The metadata of a file that was opened by name.
    pub(crate) fn metadata(&self) -> Option<Metadata> {
        match self {
            Self::Standard | Self::Descriptor(..) => None,
            Self::File(file, _) => file.metadata().ok(),
        }
    }

    /// The first bytes from `start` on, which stay unread. Empty for what is no regular file.
    pub(crate) fn peek(&self, start: u64) -> Vec<u8> {
        let mut beginning = vec![0; PEEKED];
        let count = match self.metadata() {
            Some(metadata) if metadata.is_file() => {
                rustix::io::pread(self, &mut beginning[..], start).unwrap_or(0)
            }
            _ => 0,
        };
        beginning.truncate(count);
        beginning
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => StandardStream::Input.name().to_owned(),
            Self::Descriptor(_, path) | Self::File(_, path) => path.display().to_string(),
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard => rustix::stdio::stdin(),
            Self::Descriptor(fd, _) => fd.as_fd(),
            Self::File(file, _) => file.as_fd(),
        }
    }
}
