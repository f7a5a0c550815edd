//! Absolute symbolic links that point below the root. openat2(2) refuses all absolute links,
//! because it does not know the path of the root. Here each link is read, and replaced by the path
//! below the root that it means.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2, readlinkat};
use rustix::io::Errno;

/// The kernel's own limit for one path (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// Resolves `relative` to a path below the root that has no links in it. `None` if it leads
/// outside, in circles, or through a directory that cannot be read.
///
/// `root` is the open root, and `paths` are the absolute paths by which links may refer to it. The
/// result must be opened with links refused, because it may have changed in the meantime.
pub(super) fn resolve(root: BorrowedFd<'_>, paths: &[PathBuf], relative: &[u8]) -> Option<Vec<u8>> {
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    let mut ahead: VecDeque<Vec<u8>> = components(relative);
    let mut links = 0;
    while let Some(component) = ahead.pop_front() {
        if component == b".." {
            resolved.pop()?;
            continue;
        }
        resolved.push(component);
        let Some(target) = link(root, &resolved.join(&b'/')).ok()? else {
            continue;
        };
        resolved.pop();
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        let path = Path::new(OsStr::from_bytes(&target));
        let below = if path.is_absolute() {
            resolved.clear();
            paths.iter().find_map(|root| path.strip_prefix(root).ok())?
        } else {
            path
        };
        for component in components(below.as_os_str().as_bytes()).into_iter().rev() {
            ahead.push_front(component);
        }
    }
    Some(resolved.join(&b'/'))
}

/// Names and `..`, in their order.
fn components(path: &[u8]) -> VecDeque<Vec<u8>> {
    let components = Path::new(OsStr::from_bytes(path)).components();
    let names = components.filter(|it| matches!(it, Component::Normal(_) | Component::ParentDir));
    names.map(|it| it.as_os_str().as_bytes().to_vec()).collect()
}

/// The target of the link at `path`; `None` if it is not a link. No directory on the way may be a
/// link.
fn link(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    let opened = openat2(root, path, flags, Mode::empty(), resolve)?;
    match readlinkat(&opened, "", Vec::new()) {
        Ok(target) => Ok(Some(target.into_bytes())),
        // The open file is not a link.
        Err(Errno::NOENT | Errno::INVAL) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use rustix::fd::AsFd as _;

    #[test]
    fn links_are_replaced_by_what_they_mean() {
        let around = tempfile::tempdir().unwrap();
        let root = around.path().join("root");
        let at = |name: &str| root.join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        fs::create_dir_all(around.path().join("root-beside")).unwrap();
        fs::write(at("a/b/file"), "").unwrap();
        symlink(&root, around.path().join("other-name")).unwrap();
        let other = around.path().join("other-name");
        for (name, target) in [
            ("file", root.join("a/b/file")),
            ("directory", root.join("a/./b/")),
            ("by-other-name", other.join("a")),
            ("self", root.clone()),
            ("chain", root.join("by-other-name/b/up/b/file")),
            ("a/b/up", PathBuf::from("..")),
            ("out", around.path().join("secret")),
            ("beside", around.path().join("root-beside")),
            ("back", root.join("../secret")),
            ("circle", root.join("circle")),
            ("round", root.join("a/../round-too")),
            ("round-too", root.join("round")),
            ("magic", PathBuf::from("/proc/self/root")),
        ] {
            symlink(target, at(name)).unwrap();
        }
        let open = File::open(&root).unwrap();
        let paths = [root.clone(), other];
        for (relative, expected) in [
            ("file", Some("a/b/file")),
            ("directory", Some("a/b")),
            ("directory/file", Some("a/b/file")),
            ("by-other-name/b/file", Some("a/b/file")),
            ("chain", Some("a/b/file")),
            ("self", Some("")),
            ("self/self/a", Some("a")),
            ("a/b/file", Some("a/b/file")),
            ("out", None),
            ("beside", None),
            ("back", None),
            ("circle", None),
            ("round", None),
            ("magic/etc", None),
            ("a/b/file/more", None),
            ("a/none", None),
        ] {
            let found = resolve(open.as_fd(), &paths, relative.as_bytes());
            let found = found.map(|it| String::from_utf8(it).unwrap());
            assert_eq!(found.as_deref(), expected, "{relative}");
        }
    }
}
