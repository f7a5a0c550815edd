//! Why an entry was not made.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;

/// Why an entry was not made. The entries after it can still be.
#[derive(Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// A rule of the [module](super) forbids it: why, in a few words.
    Rule(&'static str),
    /// It is a device, a FIFO, or of an unknown type.
    Kind(&'static str),
    /// Something of that name exists, and is not to be replaced.
    Exists,
    /// A system call failed.
    Failed(io::Error),
}

impl Refusal {
    /// The disk or a quota is full, so that the entries after it will fail as well.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Failed(error) if is_full(error))
    }
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    matches!(
        error.kind(),
        StorageFull | QuotaExceeded | ReadOnlyFilesystem
    )
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(why) => write!(f, "refused: {why}"),
            Self::Kind(kind) => write!(f, "refused: it is {kind}"),
            Self::Exists => f.write_str("it exists; --force replaces it"),
            Self::Failed(error) => error.fmt(f),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) => Some(error),
            _ => None,
        }
    }
}

impl From<Errno> for Refusal {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::EXIST => Self::Exists,
            other => Self::Failed(other.into()),
        }
    }
}
