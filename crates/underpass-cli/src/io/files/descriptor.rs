//! Names that lead to an open descriptor: /dev/stdout, /dev/fd/3, /proc/self/fd/3, and links to
//! them.
//!
//! Such a name must not be opened: that makes a new open file with offset 0 and without O_APPEND.
//! Nor must a temporary file be renamed to it: that replaces the file behind the descriptor.

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;

use super::directory_of;

/// The kernel's limit on links to follow (path_resolution(7)).
const LINKS: usize = 40;

/// The number of the descriptor of this process that `path` leads to.
pub(super) fn number(path: &Path) -> Option<RawFd> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        // A path that is not a link means a descriptor only in these directories. The descriptor
        // may be closed.
        let is_link = fs::symlink_metadata(&path).is_ok_and(|found| found.is_symlink());
        if !is_link && !path.starts_with("/dev/fd") && !path.starts_with("/proc") {
            return None;
        }
        let parent = directory_of(&path).canonicalize().ok()?;
        if lists_descriptors(&parent) {
            return path.file_name()?.to_str()?.parse().ok();
        }
        path = parent.join(fs::read_link(&path).ok()?);
    }
    None
}

/// Whether this is `/proc/PID/fd` or `/proc/PID/task/TID/fd` of this process.
fn lists_descriptors(directory: &Path) -> bool {
    let Ok(own) = fs::canonicalize("/proc/self") else {
        return false;
    };
    let Ok(rest) = directory.strip_prefix(own) else {
        return false;
    };
    let mut parts = rest.iter().map(|part| part.to_str());
    match parts.next() {
        Some(Some("fd")) => parts.next().is_none(),
        Some(Some("task")) => parts.nth(1) == Some(Some("fd")) && parts.next().is_none(),
        _ => false,
    }
}
