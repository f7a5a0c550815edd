//! A directory for one test, and content for its files.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory that is removed with everything in it when this is dropped.
pub(crate) struct Files(Place);

enum Place {
    Own(TempDir),
    Given(PathBuf),
}

impl Files {
    /// A directory in memory, where everything is always in the page cache.
    pub(crate) fn new() -> Self {
        Self(Place::Own(tempfile::tempdir_in("/dev/shm").unwrap()))
    }

    /// A directory on a disk, whose page cache can be dropped.
    pub(crate) fn on_disk() -> Self {
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self(Place::Own(directory.unwrap()))
    }

    /// A directory that another process removes.
    pub(crate) fn at(path: impl Into<PathBuf>) -> Self {
        Self(Place::Given(path.into()))
    }

    pub(crate) fn with(self, name: &str, content: &[u8]) -> Self {
        std::fs::write(self.path(name), content).unwrap();
        self
    }

    pub(crate) fn root(&self) -> &Path {
        match &self.0 {
            Place::Own(directory) => directory.path(),
            Place::Given(path) => path,
        }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root().display())
    }

    pub(crate) fn open(&self, name: &str) -> File {
        File::open(self.path(name)).unwrap()
    }

    /// Makes a file of which no page is in the page cache. Only [on a disk](Self::on_disk).
    pub(crate) fn cold(&self, name: &str, content: &[u8]) {
        cold(&self.path(name), content);
    }
}

/// Writes a file, and drops it from the page cache.
pub(crate) fn cold(path: &str, content: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(content).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

/// Bytes that look random; the same for each length.
pub(crate) fn bytes(len: usize) -> Vec<u8> {
    underpass_testing::bytes(len as u64, len)
}

/// Bytes that compress well: numbered lines.
pub(crate) fn text(len: usize) -> Vec<u8> {
    let mut content = Vec::with_capacity(len + 32);
    for number in 0_u64.. {
        if content.len() >= len {
            break;
        }
        writeln!(content, "line {number} of a long text").unwrap();
    }
    content.truncate(len);
    content
}

/// Content of the same length in which every byte differs.
pub(crate) fn changed(content: &[u8]) -> Vec<u8> {
    content.iter().map(|byte| !byte).collect()
}
