use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};

use rustix::fs::{FlockOperation, flock};

use super::*;
use crate::agreement::Offer;
use crate::tar::ReadKind;

fn member(path: &[u8], kind: ReadKind) -> ReadMember {
    ReadMember {
        path: path.to_vec(),
        kind,
        stored: 0,
        sparse: None,
        mode: 0o6755,
        mtime: 1_000_000_000,
        mtime_nanoseconds: 5,
        uid: 0,
        gid: 0,
        xattrs: Vec::new(),
    }
}

/// A directory beside a file that nothing may reach.
struct Rig {
    all: tempfile::TempDir,
}

impl Rig {
    fn new() -> Self {
        let all = tempfile::tempdir().unwrap();
        fs::create_dir(all.path().join("in")).unwrap();
        fs::create_dir(all.path().join("out")).unwrap();
        fs::write(all.path().join("out/secret"), "secret").unwrap();
        Self { all }
    }

    fn inside(&self, name: &str) -> std::path::PathBuf {
        self.all.path().join("in").join(name)
    }

    fn destination(&self) -> Destination {
        Destination::open(&self.inside("")).unwrap()
    }

    /// Makes each; a file gets a content. Returns what was refused.
    fn unpack(mut destination: Destination, members: &[ReadMember]) -> Vec<String> {
        let mut refused = Vec::new();
        for member in members {
            match destination.make(member) {
                Ok(Some(new)) => {
                    let mut file: &fs::File = new.file();
                    file.write_all(b"new").unwrap();
                    new.finish().unwrap();
                }
                Ok(None) => {}
                Err(refusal) => refused.push(refusal.to_string()),
            }
        }
        destination.finish(false).unwrap();
        refused
    }

    fn outside_is_untouched(&self) {
        let out = self.all.path().join("out");
        let names: Vec<_> = fs::read_dir(&out).unwrap().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(fs::read(out.join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(self.all.path()).unwrap().count(), 2);
    }
}

fn file(path: &[u8]) -> ReadMember {
    member(path, ReadKind::File)
}

fn link(path: &[u8], target: &[u8]) -> ReadMember {
    member(path, ReadKind::Symlink(target.to_vec()))
}

fn hard(path: &[u8], first: &[u8]) -> ReadMember {
    member(path, ReadKind::HardLink(first.to_vec()))
}

fn directory(path: &[u8]) -> ReadMember {
    member(path, ReadKind::Directory)
}

/// Archives that want out, or to do harm inside.
fn hostile() -> Vec<(&'static str, Vec<ReadMember>)> {
    vec![
        ("up", vec![file(b"../out/x")]),
        ("up in the middle", vec![file(b"a/../../out/x")]),
        ("up at the end", vec![directory(b"a/..")]),
        ("absolute", vec![file(b"/tmp/underpass-must-not-exist")]),
        ("absolute directory", vec![directory(b"/")]),
        (
            "double slash",
            vec![file(b"//tmp/underpass-must-not-exist")],
        ),
        ("empty", vec![file(b"")]),
        ("only dots", vec![file(b"./.")]),
        ("zero byte", vec![file(b"a\0b")]),
        (
            "link, then through it",
            vec![link(b"l", b"../out"), file(b"l/x")],
        ),
        (
            "link, then a directory through it",
            vec![link(b"l", b"../out"), directory(b"l/d")],
        ),
        (
            "link, then a link through it",
            vec![link(b"l", b"../out"), link(b"l/m", b"x")],
        ),
        (
            "link, then the directory itself",
            vec![link(b"l", b"../out"), directory(b"l")],
        ),
        (
            "link to a file, then that file",
            vec![link(b"l", b"../out/secret"), file(b"l")],
        ),
        ("link to itself", vec![link(b"l", b"l"), file(b"l/x")]),
        (
            "chain of links",
            vec![link(b"a", b"b"), link(b"b", b"../out"), file(b"a/x")],
        ),
        ("hard link out", vec![hard(b"h", b"../out/secret")]),
        ("absolute hard link", vec![hard(b"h", b"/etc/passwd")]),
        (
            "hard link through a link",
            vec![link(b"l", b"../out"), hard(b"h", b"l/secret")],
        ),
        (
            "hard link to a link",
            vec![link(b"l", b"../out/secret"), hard(b"h", b"l")],
        ),
        (
            "hard link to a directory",
            vec![directory(b"d"), hard(b"h", b"d")],
        ),
        ("hard link to nothing", vec![hard(b"h", b"none")]),
        ("hard link to the root", vec![hard(b"h", b".")]),
        ("file as a directory", vec![file(b"f"), file(b"f/x")]),
        ("directory as a file", vec![directory(b"d"), file(b"d")]),
        (
            "device",
            vec![member(b"d", ReadKind::Other("a block device"))],
        ),
        ("twice", vec![file(b"f"), file(b"f")]),
        ("file, then a link", vec![file(b"f"), link(b"f", b"../out")]),
        ("name of 256 bytes", vec![file(&[b'n'; 256])]),
        ("link target of 5000 bytes", vec![link(b"l", &[b'n'; 5000])]),
    ]
}

#[test]
fn a_hostile_archive_stays_inside() {
    for replace in [false, true] {
        for (name, members) in hostile() {
            let rig = Rig::new();
            let destination = rig.destination().replace(replace);
            let refused = Rig::unpack(destination, &members);
            let replaces = [
                "twice",
                "file, then a link",
                "link to a file, then that file",
            ];
            if !(replace && replaces.contains(&name)) {
                assert!(!refused.is_empty(), "{name}, replace: {replace}");
            }
            rig.outside_is_untouched();
            assert!(
                !Path::new("/tmp/underpass-must-not-exist").exists(),
                "{name}"
            );
        }
    }
}

#[test]
fn modes_lose_set_user_id_and_what_the_umask_forbids() {
    let rig = Rig::new();
    let all = [directory(b"d"), file(b"d/f")];
    assert!(Rig::unpack(rig.destination(), &all).is_empty());
    for name in ["d", "d/f"] {
        let found = fs::metadata(rig.inside(name)).unwrap();
        assert_eq!(found.mode() & 0o7022, 0, "{name}");
        assert_eq!(
            (found.mtime(), found.mtime_nsec()),
            (1_000_000_000, 5),
            "{name}"
        );
    }
}

#[test]
fn a_directory_that_forbids_writing_is_filled_first() {
    let rig = Rig::new();
    let mut closed = directory(b"d");
    closed.mode = 0o500;
    assert!(Rig::unpack(rig.destination(), &[closed, file(b"d/f")]).is_empty());
    assert_eq!(fs::metadata(rig.inside("d")).unwrap().mode() & 0o777, 0o500);
}

#[test]
fn what_is_there_is_kept_unless_it_is_to_be_replaced() {
    let rig = Rig::new();
    let all = [file(b"f"), link(b"l", b"f"), hard(b"h", b"f")];
    for name in ["f", "l", "h"] {
        fs::write(rig.inside(name), "old").unwrap();
    }
    let refused = Rig::unpack(rig.destination(), &all);
    assert_eq!(refused[..2], ["it exists; --force replaces it"; 2]);
    assert_eq!(refused.len(), 3);
    assert!(Rig::unpack(rig.destination().replace(true), &all).is_empty());
    for name in ["f", "l", "h"] {
        assert_eq!(fs::read(rig.inside(name)).unwrap(), b"new", "{name}");
    }
    let inode = |name| fs::metadata(rig.inside(name)).unwrap().ino();
    assert_eq!(inode("f"), inode("h"));
    let left = fs::read_dir(rig.inside("")).unwrap().count();
    assert_eq!(left, 3);
}

#[test]
fn only_attributes_of_users_are_taken_and_only_if_wanted() {
    let rig = Rig::new();
    let mut with = file(b"f");
    let of_user = (b"user.color".to_vec(), b"red".to_vec());
    with.xattrs = vec![
        of_user.clone(),
        (b"security.capability".to_vec(), vec![1; 20]),
    ];
    let xattrs = || {
        let walk = crate::walk::Walk::new(rig.inside("f"), "f").unwrap();
        walk.last().unwrap().unwrap().xattrs().unwrap()
    };
    let has = |name: &[u8]| xattrs().iter().any(|(found, _)| found == name);
    assert!(Rig::unpack(rig.destination(), &[with.clone()]).is_empty());
    assert!(!has(b"user.color") && !has(b"security.capability"));
    let probe = rustix::fs::XattrFlags::empty();
    if rustix::fs::setxattr(rig.inside("f"), "user.probe", b"", probe).is_err() {
        underpass_testing::needs::lacking("this file system has no extended attributes of users");
        return;
    }
    let destination = rig.destination().replace(true).xattrs(true);
    assert!(Rig::unpack(destination, &[with]).is_empty());
    assert!(xattrs().contains(&of_user) && !has(b"security.capability"));
}

#[test]
fn a_link_that_was_there_is_not_followed_either() {
    let rig = Rig::new();
    symlink("../out", rig.inside("l")).unwrap();
    let refused = Rig::unpack(rig.destination().replace(true), &[file(b"l/x")]);
    assert_eq!(refused.len(), 1);
    rig.outside_is_untouched();
}

#[test]
fn a_path_longer_than_the_kernel_takes_is_made() {
    let rig = Rig::new();
    let name = vec![b'n'; 255];
    let path = vec![name; 200].join(&b'/');
    assert!(Rig::unpack(rig.destination(), &[file(&path)]).is_empty());
    let last = crate::walk::Walk::new(rig.inside(""), "").unwrap().last();
    assert_eq!(last.unwrap().unwrap().path().len(), 2 + 200 * 256 - 1);
}

fn offer(path: &[u8], size: u64) -> Offer {
    Offer::new(path, size, (1_000_000_000, 5))
}

#[test]
fn what_is_there_is_found_and_nothing_is_made() {
    let rig = Rig::new();
    let mut destination = rig.destination().resume(true);
    assert!(matches!(
        destination.there(&offer(b"d/f", 3)),
        There::Nothing
    ));
    assert!(!rig.inside("d").exists());
    // A part of 3 bytes of 5.
    let mut whole = file(b"d/f");
    whole.stored = 5;
    let new = destination.make(&whole).unwrap().unwrap();
    let mut writing: &fs::File = new.file();
    writing.write_all(b"abc").unwrap();
    drop(new);
    assert!(matches!(
        destination.there(&offer(b"d/f", 5)),
        There::Part(_, 3)
    ));
    // Of another version of the file it is no part.
    assert!(matches!(
        destination.there(&offer(b"d/f", 6)),
        There::Nothing
    ));
    let new = destination.make(&whole).unwrap().unwrap();
    let mut writing: &fs::File = new.file();
    writing.write_all(b"abcde").unwrap();
    new.finish().unwrap();
    assert!(matches!(
        destination.there(&offer(b"d/f", 5)),
        There::Whole(_)
    ));
    assert!(matches!(destination.there(&offer(b"d/f", 4)), There::Other));
    let mut replacing = rig.destination().resume(true).replace(true);
    assert!(matches!(replacing.there(&offer(b"d/f", 4)), There::Nothing));
    assert_eq!(fs::read_dir(rig.inside("d")).unwrap().count(), 1);
}

#[test]
fn what_is_there_is_not_looked_for_outside() {
    let rig = Rig::new();
    let secret = rig.all.path().join("out/secret");
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 5);
    let opened = fs::File::options().write(true).open(&secret).unwrap();
    opened.set_modified(time).unwrap();
    symlink("../out", rig.inside("l")).unwrap();
    symlink("../out/secret", rig.inside("s")).unwrap();
    let mut destination = rig.destination().resume(true).replace(true);
    for path in [
        &b"l/secret"[..],
        b"s",
        b"../out/secret",
        b"/etc/passwd",
        b"",
        b".",
    ] {
        let there = destination.there(&offer(path, 6));
        assert!(matches!(there, There::Nothing), "{there:?}");
    }
}

#[test]
fn links_that_are_there_are_no_error_when_it_goes_on() {
    let rig = Rig::new();
    let members = [file(b"f"), link(b"l", b"f"), hard(b"h", b"f")];
    assert_eq!(Rig::unpack(rig.destination(), &members), [""; 0]);
    let again = rig.destination().resume(true);
    assert_eq!(Rig::unpack(again, &members[1..]), [""; 0]);
    let other = [link(b"l", b"other"), hard(b"h", b"l")];
    let again = rig.destination().resume(true);
    assert_eq!(Rig::unpack(again, &other).len(), 2);
    assert_eq!(Rig::unpack(rig.destination(), &members[1..]).len(), 2);
}

#[test]
fn a_directory_of_ours_is_writable_until_the_end() {
    for mode in [0o555, 0o000] {
        let rig = Rig::new();
        fs::create_dir(rig.inside("d")).unwrap();
        fs::set_permissions(rig.inside("d"), Permissions::from_mode(mode)).unwrap();
        let mut named = directory(b"d");
        named.mode = 0o511;
        let mut destination = rig.destination();
        destination.make(&named).unwrap();
        let now = || fs::metadata(rig.inside("d")).unwrap().mode() & 0o777;
        assert_eq!(now(), mode | 0o700);
        destination.finish(false).unwrap();
        assert_eq!(now(), 0o511);
        // One that the archive does not name keeps its mode.
        let mut destination = rig.destination();
        let _ = destination.make(&file(b"d/f"));
        assert_eq!(now(), 0o511);
    }
}

#[test]
fn a_hard_link_leads_to_what_arrived() {
    let rig = Rig::new();
    fs::write(rig.inside("f"), "other").unwrap();
    let refused = Rig::unpack(rig.destination(), &[file(b"f"), hard(b"h", b"./f")]);
    let why = [
        "it exists; --force replaces it",
        "refused: the file that it links to did not arrive",
    ];
    assert_eq!(refused, why);
    assert!(!rig.inside("h").exists());
    // What is there and was not in the archive may be meant.
    assert_eq!(Rig::unpack(rig.destination(), &[hard(b"h", b"f")]), [""; 0]);
    fs::remove_file(rig.inside("h")).unwrap();
    // It comes a second time, and arrives.
    let again = [file(b"g"), file(b"g"), hard(b"h", b"g")];
    let refused = Rig::unpack(rig.destination(), &again);
    assert_eq!(refused.len(), 2, "{refused:?}");
    let again = [file(b"f"), file(b"f"), hard(b"h", b"f")];
    assert_eq!(
        Rig::unpack(rig.destination().replace(true), &again),
        [""; 0]
    );
}

#[test]
fn what_is_being_received_is_not_received_twice() {
    let rig = Rig::new();
    let (mut one, mut other) = (
        rig.destination().resume(true),
        rig.destination().resume(true),
    );
    let mut whole = file(b"f");
    whole.stored = 5;
    let new = one.make(&whole).unwrap().unwrap();
    assert!(new.is_kept());
    let mut writing: &fs::File = new.file();
    writing.write_all(b"abc").unwrap();
    assert!(matches!(other.there(&offer(b"f", 5)), There::Busy));
    let refused = other.make(&whole).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused: another transfer is receiving it"
    );
    drop(new);
    assert!(matches!(other.there(&offer(b"f", 5)), There::Part(_, 3)));
    drop(other.make(&whole).unwrap().unwrap());
}

#[test]
fn what_came_of_older_versions_goes_and_the_rest_is_counted() {
    let rig = Rig::new();
    fs::create_dir(rig.inside("d")).unwrap();
    let part = |name: &[u8], size: u64, time: (i64, u32)| {
        let name = there::part_name(name, size, time);
        let path = rig.inside("d").join(&name);
        fs::write(&path, "part").unwrap();
        (name, path)
    };
    let time = 1_000_000_000;
    let (_, older) = part(b"f", 9, (time - 1, 0));
    let (_, before_1970) = part(b"f", 9, (-5, 7));
    let (_, same) = part(b"f", 3, (time, 5));
    let (_, same_time) = part(b"f", 9, (time, 5));
    let (_, newer) = part(b"f", 9, (time, 6));
    let (_, of_none) = part(b"g", 9, (time - 1, 0));
    let (name, busy) = part(b"f", 8, (time - 1, 0));
    let lock = fs::File::open(&busy).unwrap();
    flock(&lock, FlockOperation::LockExclusive).unwrap();
    // Other forms, as another version may have, and no parts at all.
    let upper = name.replace(".part", "-1.part");
    for other in [".underpass-link-7.part", ".underpass-.part", &upper] {
        fs::write(rig.inside("d").join(other), "other").unwrap();
    }
    fs::write(rig.inside("d/.underpass-note"), "mine").unwrap();
    symlink("f", rig.inside("d/.underpass-x.part")).unwrap();
    let mut destination = rig.destination().resume(true);
    for member in [directory(b"d"), file(b"d/f")] {
        if let Some(new) = destination.make(&member).unwrap() {
            let mut writing: &fs::File = new.file();
            writing.write_all(b"new").unwrap();
            new.finish().unwrap();
        }
    }
    let mut found = destination.leftovers(None);
    assert_eq!((found.removed, found.left, found.left_bytes), (3, 6, 27));
    for gone in [older, before_1970, same] {
        assert!(!gone.exists());
    }
    for kept in [same_time, newer, of_none, busy] {
        assert!(kept.exists());
    }
    // Of a single file, only its own.
    let mut destination = Destination::open(&rig.inside("d")).unwrap().resume(true);
    found = destination.leftovers(Some(b"g"));
    assert_eq!((found.removed, found.left), (0, 1));
    drop(lock);
    found = destination.leftovers(Some(b"f"));
    assert_eq!((found.removed, found.left), (1, 2));
}
