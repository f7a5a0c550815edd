//! Where the bytes of a name come from: a directory, or a store of objects.

use std::io;
use std::sync::Arc;

use crate::file::{Root, Wait};
use crate::objects::Objects;
use crate::sys::OpenFile;

mod answers;
mod directory;

pub(super) use answers::Answers;
pub(super) use directory::DirectoryNames;

/// Opens names for a lookup, which looks first and waits elsewhere.
///
/// An error that [`must_wait`] recognises says that a call would have to wait. The whole lookup is
/// then made again, when what was waited for is there. So no thread waits for a store.
pub(super) trait Names: Send + Sync {
    /// Opens what has this name.
    ///
    /// # Errors
    /// Those of the file system or the store. [`is_missing`](crate::file::is_missing) tells those
    /// that mean that nothing is there.
    fn open(&self, relative: &[u8], wait: Wait) -> io::Result<OpenFile>;

    /// Says which names are opened next, so that they can be looked up together.
    ///
    /// # Errors
    /// That the lookup has to wait.
    fn expect(&self, names: &[Vec<u8>]) -> io::Result<()>;

    /// Whether there are names below one that cannot be opened. A directory of a file system can
    /// be.
    ///
    /// # Errors
    /// Those of the store.
    fn has_names_below(&self, relative: &[u8]) -> io::Result<bool>;

    /// Whether asking for the version of an open file can take forever.
    fn is_remote(&self, file: &OpenFile) -> bool;
}

/// Whether a call failed only because it would have had to wait: for the disk, or for the answers
/// of a store.
pub(super) fn must_wait(error: &io::Error) -> bool {
    Wait::needed(error).is_some() || answers::is_to_be_asked(error)
}

/// What is served.
#[derive(Clone)]
pub(super) enum Source {
    Directory(Arc<DirectoryNames>),
    Objects(Arc<dyn Objects>),
}

impl Source {
    /// The directory, unless it is a store.
    pub(super) fn root(&self) -> Option<&Arc<Root>> {
        match self {
            Self::Directory(names) => Some(names.root()),
            Self::Objects(_) => None,
        }
    }

    /// The store, unless it is a directory.
    pub(super) fn objects(&self) -> Option<&Arc<dyn Objects>> {
        match self {
            Self::Directory(_) => None,
            Self::Objects(objects) => Some(objects),
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.root() {
            Some(root) => root.path().fmt(f),
            None => f.write_str("objects of a store"),
        }
    }
}
