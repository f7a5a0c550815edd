//! Tests reading of real directories.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fd::AsFd;
use rustix::fs::{CWD, OFlags};
use tempfile::TempDir;

use super::*;

const PLAIN: Which<'static> = Which {
    hidden: false,
    rules: None,
    symlinks: None,
};

fn names(directory: &Path, which: Which<'_>) -> Vec<String> {
    let opened = File::open(directory).unwrap();
    let mut names: Vec<_> = read(opened.as_fd(), which)
        .unwrap()
        .into_iter()
        .map(|entry| String::from_utf8_lossy(&entry.name).into_owned())
        .collect();
    names.sort();
    names
}

/// `root/sub` is the directory that is listed, `outside` lies beside the root.
fn tree() -> TempDir {
    let tree = tempfile::tempdir().unwrap();
    let at = |name: &str| tree.path().join(name);
    fs::create_dir_all(at("root/sub/directory")).unwrap();
    fs::create_dir(at("root/other")).unwrap();
    fs::write(at("root/other/target"), [0; 77]).unwrap();
    fs::write(at("outside"), "secret").unwrap();
    fs::write(at("root/sub/file"), [0; 12]).unwrap();
    fs::write(at("root/sub/.dotted"), "").unwrap();
    fs::write(at("root/sub/.underpass-upload-1"), "").unwrap();
    fs::write(at("root/sub").join(OsStr::from_bytes(b"\xff")), "").unwrap();
    let mode = Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(CWD, at("root/sub/fifo"), FileType::Fifo, mode, 0).unwrap();
    drop(UnixListener::bind(at("root/sub/socket")).unwrap());
    for (name, target) in [
        ("up", "../other/target"),
        ("directory-link", "../other"),
        ("beside", "file"),
        ("outside", "../../outside"),
        ("absolute", "/etc/passwd"),
        ("magic", "/proc/self/exe"),
        ("nowhere", "gone"),
        ("circle", "circle"),
        ("to-fifo", "fifo"),
    ] {
        symlink(target, at("root/sub").join(name)).unwrap();
    }
    let inside = tree.path().join("root/other/target");
    symlink(inside, at("root/sub/absolute-inside")).unwrap();
    tree
}

#[test]
fn files_and_directories_with_plain_names() {
    let tree = tree();
    let names = names(&tree.path().join("root/sub"), PLAIN);
    assert_eq!(names, ["directory", "file", "\u{fffd}"]);
}

#[test]
fn hidden_ones_when_asked_but_never_uploads() {
    let tree = tree();
    let which = Which {
        hidden: true,
        ..PLAIN
    };
    let names = names(&tree.path().join("root/sub"), which);
    assert_eq!(names, [".dotted", "directory", "file", "\u{fffd}"]);
}

#[test]
fn symlinks_that_stay_beneath_the_root_are_what_they_lead_to() {
    let tree = tree();
    let root = Root::new(tree.path().join("root"));
    let sub = File::open(tree.path().join("root/sub")).unwrap();
    let beneath = |path: &'static [u8]| Which {
        hidden: false,
        rules: None,
        symlinks: Some(Beneath { root: &root, path }),
    };
    let mut entries = read(sub.as_fd(), beneath(b"sub")).unwrap();
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    let seen: Vec<_> = entries
        .iter()
        .map(|entry| (&*entry.name, entry.kind, entry.size))
        .collect();
    let expected = [
        (&b"absolute-inside"[..], Kind::File, 77),
        (b"beside", Kind::File, 12),
        (b"directory", Kind::Directory, 0),
        (b"directory-link", Kind::Directory, 0),
        (b"file", Kind::File, 12),
        (b"up", Kind::File, 77),
        (b"\xff", Kind::File, 0),
    ];
    assert_eq!(seen, expected);
}

#[test]
fn symlinks_in_the_root_itself() {
    let tree = tree();
    let directory = tree.path().join("root/other");
    symlink("target", directory.join("in")).unwrap();
    symlink("../sub/file", directory.join("out")).unwrap();
    let root = Root::new(directory.clone());
    let which = Which {
        hidden: false,
        rules: None,
        symlinks: Some(Beneath {
            root: &root,
            path: b"",
        }),
    };
    assert_eq!(names(&directory, which), ["in", "target"]);
}

#[test]
fn times_before_1970_and_parts_of_a_second() {
    let tree = tree();
    let old = SystemTime::UNIX_EPOCH - Duration::new(86_400, 250_000_000);
    let file = File::options()
        .write(true)
        .open(tree.path().join("root/sub/file"))
        .unwrap();
    file.set_modified(old).unwrap();
    let sub = File::open(tree.path().join("root/sub")).unwrap();
    let entries = read(sub.as_fd(), PLAIN).unwrap();
    let file = entries.iter().find(|entry| entry.name == b"file").unwrap();
    assert_eq!(file.modified, Some(old));
}

#[test]
fn a_path_descriptor_will_do_and_a_cursor_does_not_matter() {
    let tree = tree();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let sub = tree.path().join("root/sub");
    let path_only = rustix::fs::open(&sub, flags, Mode::empty()).unwrap();
    for _ in 0..2 {
        assert_eq!(read(path_only.as_fd(), PLAIN).unwrap().len(), 3);
    }
}

#[test]
fn a_file_is_no_directory() {
    let file = tempfile::tempfile().unwrap();
    let error = read(file.as_fd(), PLAIN).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
}
