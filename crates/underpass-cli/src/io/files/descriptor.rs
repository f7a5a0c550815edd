//! Names that lead to an open descriptor: /dev/stdout, /dev/fd/3, /proc/self/fd/3, and links to
//! them.
//!
//! To open such a name would make a new open file, with an offset of its own at 0 and without
//! O_APPEND, and to make a file beside it and rename that would replace what the descriptor leads
//! to.

use std::fs;
use std::os::fd::RawFd;
use std::path::Path;

use super::directory_of;

/// As many links as the kernel follows (path_resolution(7)).
const LINKS: usize = 40;

/// The number of the descriptor of this process that `path` leads to.
pub(super) fn number(path: &Path) -> Option<RawFd> {
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        // What is no link, or not there, is a descriptor only if it stands where those stand and is
        // not open.
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

/// `/proc/PID/fd` or `/proc/PID/task/TID/fd` of this process.
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
