//! Owners and extended attributes of trees: sent and given only where both sides are asked to, and
//! where the receiver may.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::time::{Duration, SystemTime};

use rustix::fs::XattrFlags;
use rustix::process::geteuid;

use crate::support::{Dir, Running, needs, nobody, run, underpass};

/// Two files, a directory and a link, which belong to others.
fn owned(dir: &Dir) -> String {
    let tree = dir.path("tree");
    fs::create_dir_all(format!("{tree}/d")).unwrap();
    fs::write(format!("{tree}/f"), "f").unwrap();
    fs::write(format!("{tree}/d/g"), "g").unwrap();
    symlink("f", format!("{tree}/l")).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 5);
    for (name, owner) in [("d/g", 1234), ("f", 70_000), ("l", 1235), ("d", 1236)] {
        let path = format!("{tree}/{name}");
        if name != "l" {
            File::open(&path).unwrap().set_modified(time).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o750)).unwrap();
        }
        lchown(&path, Some(owner), Some(owner + 1)).unwrap();
    }
    tree
}

/// Owner, group, mode and time of each.
fn found(root: &str) -> Vec<(u32, u32, u32, i64)> {
    let of = |name| {
        let it = fs::symlink_metadata(format!("{root}/{name}")).unwrap();
        (it.uid(), it.gid(), it.mode(), it.mtime())
    };
    ["f", "d", "d/g", "l"].map(of).to_vec()
}

fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        needs::lacking("only root gives files to others");
    }
    is_root
}

#[test]
fn owners_come_along_if_both_sides_are_asked() {
    if !is_root() {
        return;
    }
    let dir = Dir::in_memory();
    let tree = owned(&dir);
    for (sender, receiver) in [(true, true), (true, false), (false, true)] {
        let option = |given: bool| if given { "--owners" } else { "--quiet" };
        let into = dir.path(&format!("into-{sender}-{receiver}/"));
        let (running, address) = Running::listening(underpass(&[
            "recv",
            "tcp://127.0.0.1:0",
            &into,
            "--receipt=none",
            if receiver { "--owners" } else { "--no-sync" },
        ]));
        run(&["send", &tree, &address, option(sender)]).ok();
        running.finish().ok();
        let (wanted, got) = (found(&tree), found(&format!("{into}tree")));
        let owners = |all: &[(u32, u32, u32, i64)]| -> Vec<_> {
            all.iter().map(|it| (it.0, it.1)).collect()
        };
        if sender && receiver {
            assert_eq!(got, wanted);
        } else {
            assert_eq!(owners(&got), [(0, 0); 4]);
        }
    }
}

/// Who may not give files away gets them all the same, and is told.
#[test]
fn nobody_gets_all_but_the_owners() {
    if !is_root() {
        return;
    }
    let (dir, own) = (Dir::in_memory(), Dir::in_memory());
    let tree = owned(&dir);
    let into = own.path("into/");
    let receiver = underpass(&["recv", "tcp://127.0.0.1:0", &into, "--owners"]);
    let (running, address) = Running::listening(nobody(receiver, &own));
    run(&["send", &tree, &address, "--owners"]).ok();
    let got = running.finish();
    assert_eq!(got.code, 3, "{}", got.stderr);
    let told = "tree/f: it is there, but without its owner or attributes: Operation not permitted";
    assert!(got.stderr.contains(told), "{}", got.stderr);
    let (wanted, got) = (found(&tree), found(&format!("{into}tree")));
    for (wanted, got) in wanted.iter().zip(&got).take(3) {
        assert_eq!((got.0, got.1), (65534, 65534));
        assert_eq!((got.2, got.3), (wanted.2, wanted.3), "mode and time");
    }
    assert_eq!(fs::read(format!("{into}tree/d/g")).unwrap(), b"g");
}

#[test]
fn only_the_attributes_of_users_come_along() {
    let dir = Dir::new();
    let tree = dir.path("tree");
    fs::create_dir_all(&tree).unwrap();
    let file = dir.file("tree/f", b"f");
    let value = b"\0\xff value";
    let set = |path: &str, name: &str| rustix::fs::setxattr(path, name, value, XattrFlags::empty());
    if set(&file, "user.note").is_err() || set(&tree, "user.place").is_err() {
        needs::lacking("the file system has no extended attributes of users");
        return;
    }
    // Root may set this one, and an archive must not.
    let has_trusted = set(&file, "trusted.note").is_ok();
    for given in [true, false] {
        let into = dir.path(&format!("into{given}/"));
        let option = if given { "--xattrs" } else { "--no-sync" };
        let (running, address) = Running::recv(&["tcp://127.0.0.1:0", &into, option]);
        run(&["send", &tree, &address, "--xattrs"]).ok();
        running.finish().ok();
        let get = |name: &str, key: &str| {
            let mut buffer = [0; 64];
            let path = format!("{into}{name}");
            let length = rustix::fs::getxattr(path, key, &mut buffer[..]).ok()?;
            Some(buffer[..length].to_vec())
        };
        let wanted = given.then(|| value.to_vec());
        assert_eq!(get("tree/f", "user.note"), wanted);
        assert_eq!(get("tree", "user.place"), wanted);
        assert!(!has_trusted || get("tree/f", "trusted.note").is_none());
    }
}
