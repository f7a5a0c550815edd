//! What a walk could not list.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::fs::FileType;

/// Something that is missing from a walk, and why. The walk goes on after it.
#[derive(Debug)]
pub struct Problem {
    path: Vec<u8>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Unreadable(io::Error),
    Skipped(&'static str),
}

impl Problem {
    pub(super) fn unreadable(path: &[u8], error: io::Error) -> Self {
        Self {
            path: path.to_vec(),
            why: Why::Unreadable(error),
        }
    }

    pub(super) fn skipped(path: &[u8], kind: FileType) -> Self {
        let kind = match kind {
            FileType::Fifo => "a FIFO",
            FileType::Socket => "a socket",
            FileType::CharacterDevice => "a character device",
            FileType::BlockDevice => "a block device",
            _ => "of an unknown kind",
        };
        Self {
            path: path.to_vec(),
            why: Why::Skipped(kind),
        }
    }

    /// The path of what is missing, as that of an [`Entry`](super::Entry).
    pub fn path(&self) -> &[u8] {
        &self.path
    }

    /// Whether it was left out because it is neither a file, nor a directory, nor a link. Otherwise
    /// it could not be read.
    pub fn is_skipped(&self) -> bool {
        matches!(self.why, Why::Skipped(_))
    }
}

/// The reason, without the path.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Unreadable(error) => error.fmt(f),
            Why::Skipped(kind) => write!(f, "{kind}, which an archive does not take"),
        }
    }
}

impl Error for Problem {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match &self.why {
            Why::Unreadable(error) => Some(error),
            Why::Skipped(_) => None,
        }
    }
}
