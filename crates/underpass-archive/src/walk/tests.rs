use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn paths(walk: Walk) -> Vec<String> {
    walk.map(|entry| String::from_utf8(entry.unwrap().path().to_vec()).unwrap())
        .collect()
}

#[test]
fn names_are_sorted_by_their_bytes_in_each_directory() {
    let root = tempfile::tempdir().unwrap();
    for name in ["b", "a.txt", "B", "a-file"] {
        fs::write(root.path().join(name), name).unwrap();
    }
    fs::create_dir_all(root.path().join("a/z")).unwrap();
    fs::write(root.path().join("a/y"), "").unwrap();
    let walk = Walk::new(root.path(), "t").unwrap();
    let order = [
        "t/", "t/B", "t/a/", "t/a/y", "t/a/z/", "t/a-file", "t/a.txt", "t/b",
    ];
    assert_eq!(paths(walk), order);
    let unnamed = Walk::new(root.path(), "").unwrap();
    assert_eq!(paths(unnamed)[..3], ["./", "./B", "./a/"]);
}

#[test]
fn links_are_listed_and_not_followed() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "content").unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
    symlink("/etc", root.path().join("c")).unwrap();
    let kinds: Vec<_> = Walk::new(root.path(), "t")
        .unwrap()
        .map(|entry| entry.unwrap().kind().clone())
        .collect();
    let first = b"t/a".to_vec();
    let target = b"/etc".to_vec();
    assert_eq!(
        kinds,
        [
            EntryKind::Directory,
            EntryKind::File,
            EntryKind::HardLink { first },
            EntryKind::Symlink { target }
        ]
    );
}

#[test]
fn a_filter_leaves_out_whole_directories() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join(".git")).unwrap();
    fs::write(root.path().join(".git/config"), "").unwrap();
    fs::write(root.path().join("kept"), "").unwrap();
    let walk = Walk::new(root.path(), "t").unwrap();
    let walk = walk.filter(|name| !name.starts_with(b"."));
    assert_eq!(paths(walk), ["t/", "t/kept"]);
}

#[test]
fn a_file_that_was_replaced_is_not_opened() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "old").unwrap();
    let entry = Walk::new(root.path(), "").unwrap().last().unwrap().unwrap();
    let mut content = String::new();
    entry.open().unwrap().read_to_string(&mut content).unwrap();
    assert_eq!(content, "old");
    fs::write(root.path().join("new"), "new").unwrap();
    fs::rename(root.path().join("new"), root.path().join("a")).unwrap();
    let error = entry.open().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
    fs::remove_file(root.path().join("a")).unwrap();
    symlink("/etc/passwd", root.path().join("a")).unwrap();
    assert!(entry.open().is_err());
}

/// A directory in the place of a removed file, which has got its number.
#[test]
fn a_directory_is_not_opened_as_a_file() {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("a")).unwrap();
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty()).unwrap()
    };
    let stat = fstat(open(&root.path().join("a"))).unwrap();
    let place = Place::In(Arc::new(open(root.path())));
    let entry = Entry::new(b"t/a".to_vec(), EntryKind::File, &stat, place);
    let error = entry.open().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StaleNetworkFileHandle);
}

#[test]
fn what_cannot_be_listed_is_a_problem_and_the_walk_goes_on() {
    let root = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(root.path().join("a")).unwrap();
    fs::write(root.path().join("b"), "").unwrap();
    let listed: Vec<_> = Walk::new(root.path(), "t").unwrap().collect();
    let problem = listed[1].as_ref().unwrap_err();
    assert_eq!(problem.path(), b"t/a");
    assert!(problem.is_skipped());
    assert_eq!(
        problem.to_string(),
        "a socket, which an archive does not take"
    );
    assert_eq!(listed[2].as_ref().unwrap().path(), b"t/b");
}

/// 200 levels, each with a name of 255 bytes: their path is longer than the kernel takes in a call.
#[test]
fn a_deep_tree_is_walked() {
    let root = tempfile::tempdir().unwrap();
    let name = "n".repeat(255);
    let mut at = fs::File::open(root.path()).unwrap();
    for _ in 0..200 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY;
        at = openat(&at, &name, flags, Mode::empty()).unwrap().into();
    }
    let last = Walk::new(root.path(), "t").unwrap().last().unwrap();
    assert_eq!(last.unwrap().path().len(), "t/".len() + 200 * 256);
}

#[test]
fn a_name_is_bytes() {
    let root = tempfile::tempdir().unwrap();
    let name = Path::new(std::ffi::OsStr::from_bytes(b"\xff\n"));
    fs::write(root.path().join(name), "").unwrap();
    let last = Walk::new(root.path(), "t").unwrap().last().unwrap();
    assert_eq!(last.unwrap().path(), b"t/\xff\n");
}

#[test]
fn each_name_of_a_file_is_forgotten_when_all_were_seen() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a"), "").unwrap();
    fs::hard_link(root.path().join("a"), root.path().join("b")).unwrap();
    let mut walk = Walk::new(root.path(), "").unwrap();
    walk.by_ref().for_each(|entry| drop(entry.unwrap()));
    assert!(walk.links.is_empty());
}
