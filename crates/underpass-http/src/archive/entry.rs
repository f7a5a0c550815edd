//! One file or directory of an archive.

use super::digest::Digest;
use crate::semantics::entity_tag;
use crate::sys::Version;

/// A file or directory, as it was when it was listed.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    /// The path below the archived directory, without a slash at its end: empty for that directory
    /// itself.
    pub(super) path: Vec<u8>,
    pub(super) is_directory: bool,
    /// The permissions: the lowest 9 bits of the mode.
    pub(super) mode: u32,
    /// The version. Its length is that of a file's content; for directories it means nothing.
    pub(super) version: Version,
}

impl Entry {
    /// The length of the content.
    pub(super) fn size(&self) -> u64 {
        if self.is_directory {
            0
        } else {
            self.version.len
        }
    }

    /// Adds everything that the bytes of the archive depend on.
    pub(super) fn digest(&self, into: &mut Digest) {
        into.bytes(&self.path);
        into.number(u64::from(self.mode) << 1 | u64::from(self.is_directory));
        into.number(self.size());
        let (seconds, nanoseconds) = self.version.modified;
        into.number(seconds as u64);
        into.number(nanoseconds as u64);
        if entity_tag::is_no_time(seconds) {
            let (seconds, nanoseconds) = self.version.changed;
            into.number(self.version.inode);
            into.number(seconds as u64);
            into.number(nanoseconds as u64);
        }
    }

    /// Whether an open file has the content that was listed, as far as its version tells.
    pub(super) fn is_of(&self, version: &Version) -> bool {
        if entity_tag::is_no_time(version.modified.0) {
            return self.version == *version;
        }
        self.version.len == version.len && self.version.modified == version.modified
    }
}
