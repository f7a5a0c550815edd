//! Names below a directory of a file system.

use std::io;
use std::sync::Arc;

use super::Names;
use crate::file::{Root, Symlinks, Wait};
use crate::sys::OpenFile;

pub(in crate::serve_dir) struct DirectoryNames {
    root: Arc<Root>,
    symlinks: Symlinks,
}

impl DirectoryNames {
    pub(in crate::serve_dir) fn new(root: Arc<Root>, symlinks: Symlinks) -> Self {
        Self { root, symlinks }
    }

    pub(in crate::serve_dir) fn root(&self) -> &Arc<Root> {
        &self.root
    }
}

impl Names for DirectoryNames {
    fn open(&self, relative: &[u8], wait: Wait) -> io::Result<OpenFile> {
        OpenFile::new(self.root.open(relative, self.symlinks, wait)?)
    }

    /// The kernel looks up one name at a time.
    fn expect(&self, _: &[Vec<u8>]) -> io::Result<()> {
        Ok(())
    }

    fn has_names_below(&self, _: &[u8]) -> io::Result<bool> {
        Ok(false)
    }

    fn is_remote(&self, file: &OpenFile) -> bool {
        self.root.is_remote(file)
    }
}
