//! The directory that an archive is made of, and what is visible in it.

use std::fs::File;
use std::io;
use std::sync::Arc;

use rustix::fd::OwnedFd;

use crate::file::{Root, Symlinks, Wait};
use crate::path_rules::ActiveRules;
use crate::semantics::path;

/// The longest path that the kernel takes, in bytes. A file with a longer one is not served by its
/// own URL either.
const MOST_PATH: usize = 4095;

/// A directory below the served root, and the rules by which its files are served. All its methods
/// may wait for the file system.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: Arc<Root>,
    /// The path of the directory below the root: empty for the root itself.
    pub(crate) path: Vec<u8>,
    /// Whether names that begin with a dot are served.
    pub(crate) hidden: bool,
    pub(crate) symlinks: Symlinks,
    pub(crate) rules: Option<ActiveRules>,
    /// Whether the archive is for somebody who may read what asks for authentication.
    pub(crate) authenticated: bool,
}

impl Tree {
    /// Opens a file or directory below this one for reading.
    ///
    /// # Errors
    /// Those of [`Root::open`].
    pub(super) fn open(&self, relative: &[u8]) -> io::Result<File> {
        let path = self.below_root(relative);
        self.root.open(&path, self.symlinks, Wait::Anything)
    }

    /// Resolves a symbolic link below this directory, without opening what it leads to.
    ///
    /// # Errors
    /// Those of [`Root::open_path`].
    pub(super) fn resolve(&self, relative: &[u8]) -> io::Result<OwnedFd> {
        self.root.open_path(&self.below_root(relative))
    }

    /// Whether the rules keep a path out of archives.
    pub(super) fn leaves_out(&self, relative: &[u8]) -> bool {
        self.rules.as_ref().is_some_and(|rules| {
            let path = self.below_root(relative);
            !rules.archives(&path, self.authenticated)
        })
    }

    /// Whether the kernel can open a path below this directory.
    pub(super) fn is_too_long(&self, relative: &[u8]) -> bool {
        self.path.len() + 1 + relative.len() > MOST_PATH
    }

    pub(super) fn follows_links(&self) -> bool {
        self.symlinks == Symlinks::Confine
    }

    fn below_root(&self, relative: &[u8]) -> Vec<u8> {
        path::join(&self.path, relative)
    }
}
