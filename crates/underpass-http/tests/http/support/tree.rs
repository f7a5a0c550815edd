//! A directory to be served, with a place outside of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use underpass_http::{Cache, ServeDir};

/// A directory tree that is removed when this is dropped.
pub(crate) struct Tree {
    around: TempDir,
    root: PathBuf,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let root = around.path().join("root");
        fs::create_dir(&root).unwrap();
        Self { around, root }
    }

    /// A tree with these files.
    pub(crate) fn of(files: &[(&str, &[u8])]) -> Self {
        let tree = Self::new();
        for (name, content) in files {
            tree.file(name, content);
        }
        tree
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The directory that contains the served one.
    pub(crate) fn around(&self) -> &Path {
        self.around.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Makes a file, and the directories above it. Its time is exact: files that are made within
    /// one tick of the kernel's clock could have the same time, and with it the same ETag.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_modified(&path, SystemTime::now());
        path
    }

    /// A service that never looks a path up again.
    pub(crate) fn serve(&self) -> ServeDir {
        self.serve_for(Duration::from_secs(3600))
    }

    /// A service that notices every change at once.
    pub(crate) fn serve_fresh(&self) -> ServeDir {
        self.serve_for(Duration::ZERO)
    }

    /// A service that notices a change after this time.
    pub(crate) fn serve_for(&self, valid_for: Duration) -> ServeDir {
        ServeDir::new(&self.root).cache(Cache::default().entries(64).valid_for(valid_for))
    }

    /// All names in the tree, including hidden ones, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

pub(crate) fn set_modified(path: &Path, at: SystemTime) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(at).unwrap();
}
