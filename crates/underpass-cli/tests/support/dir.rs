//! A directory of a test's own.

use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

/// It is removed with all that is in it. Paths are strings, since they go into arguments and are
/// looked for in messages.
pub(crate) struct Dir(TempDir);

impl Dir {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// In memory: tmpfs for anybody, with the same routes on every machine.
    pub(crate) fn in_memory() -> Self {
        Self(tempfile::tempdir_in("/dev/shm").unwrap())
    }

    /// Beside what cargo builds: on a disk, where that is.
    pub(crate) fn beside_the_program() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }

    pub(crate) fn root(&self) -> &str {
        self.0.path().to_str().unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root())
    }

    /// Makes a file and gives its path.
    pub(crate) fn file(&self, name: &str, content: &[u8]) -> String {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// What is there, hidden names too, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// How long the regular files in it are, hidden ones too.
    pub(crate) fn sizes(&self) -> Vec<u64> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let found = entries.filter_map(|entry| entry.unwrap().metadata().ok());
        let files = found.filter(std::fs::Metadata::is_file);
        files.map(|file| file.len()).collect()
    }

    /// The addresses to listen on, one of each kind.
    pub(crate) fn listening_addresses(&self) -> [String; 2] {
        let unix = format!("unix:{}", self.path("socket"));
        ["tcp://127.0.0.1:0".to_owned(), unix]
    }
}

/// Permission bits.
pub(crate) fn mode(path: &str) -> u32 {
    let permissions = std::fs::metadata(path).unwrap().permissions();
    permissions.mode() & 0o7777
}
