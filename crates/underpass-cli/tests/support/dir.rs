//! A directory for one test.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

/// A directory that is removed with everything in it. Paths are strings, because they are used as
/// arguments and are searched for in messages.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A directory in memory: tmpfs, so that the routes are the same on every machine.
    pub(crate) fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    /// A directory beside what cargo builds: on a disk, if that is on one.
    pub(crate) fn beside_the_program() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub(crate) fn root(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root())
    }

    /// Makes a file, and returns its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// All names in it, including hidden ones, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        Self::names_in(self.root())
    }

    /// All names in any directory.
    pub(crate) fn names_in(path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// The lengths of the regular files in it, including hidden ones.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let found = entries.filter_map(|entry| entry.unwrap().metadata().ok());
        let files = found.filter(std::fs::Metadata::is_file);
        files.map(|file| file.len()).collect()
    }

    /// Addresses to listen at, one of each kind.
    pub(crate) fn listening_addresses(&self) -> [String; 2] {
        let unix = format!("unix:{}", self.path("socket"));
        ["tcp://127.0.0.1:0".to_owned(), unix]
    }
}

/// The permission bits of a file.
pub(crate) fn mode(path: &str) -> u32 {
    let permissions = std::fs::metadata(path).unwrap().permissions();
    permissions.mode() & 0o7777
}
