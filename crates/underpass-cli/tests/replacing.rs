//! Files that are replaced, written in place, or cannot be replaced.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::process::Command;

use rustix::fs::{XattrFlags, getxattr, setxattr};
use underpass_testing::copy_program;

use crate::support::{
    Dir, Mount, Running, Server, collected, curl, needs, nobody, run, underpass, underpass_by,
};

/// An ACL that lets user 12 read as well (acl(5), in the kernel's form): version 2, then tag,
/// permissions, and id of each entry.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] = [
        (0x01, 6, u32::MAX),
        (0x02, 4, 12),
        (0x04, 0, u32::MAX),
        (0x10, 4, u32::MAX),
        (0x20, 0, u32::MAX),
    ];
    let mut value = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(id.to_le_bytes());
    }
    value
}

const ACL: &str = "system.posix_acl_access";

#[test]
fn pitfall_32_a_replaced_file_hands_on_what_it_had() {
    let dir = Dir::new();
    let source = dir.file("source", b"new");
    let sink = dir.file("sink", b"old");
    std::fs::set_permissions(&sink, Permissions::from_mode(0o4640)).unwrap();
    setxattr(&sink, ACL, &acl(), XattrFlags::empty()).unwrap();
    setxattr(&sink, "user.note", b"kept", XattrFlags::empty()).unwrap();
    let owner = if needs::root() {
        chown(&sink, Some(65_534), Some(12)).unwrap();
        (65_534, 12)
    } else {
        let own = std::fs::metadata(&sink).unwrap();
        (own.uid(), own.gid())
    };
    run(&["copy", &source, &sink, "--force"]).ok();
    let metadata = std::fs::metadata(&sink).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), owner);
    assert_eq!(metadata.mode() & 0o7777, 0o640, "not the set-user-ID bit");
    for (name, want) in [(ACL, acl()), ("user.note", b"kept".to_vec())] {
        let mut value = [0; 256];
        let length = getxattr(&sink, name, &mut value[..]).unwrap();
        assert_eq!(value[..length], want, "{name}");
    }
    assert_eq!(std::fs::read(&sink).unwrap(), b"new");
}

/// If the directory gives an ACL to new files, a file that replaces one without an ACL does not get
/// it.
#[test]
fn pitfall_32_a_default_acl_does_not_widen() {
    let dir = Dir::new();
    let source = dir.file("source", b"new");
    let sink = dir.file("sink", b"old");
    std::fs::set_permissions(&sink, Permissions::from_mode(0o600)).unwrap();
    setxattr(
        dir.root(),
        "system.posix_acl_default",
        &acl(),
        XattrFlags::empty(),
    )
    .unwrap();
    run(&["copy", &source, &sink, "--force"]).ok();
    assert_eq!(crate::support::mode(&sink), 0o600);
    assert!(getxattr(&sink, ACL, &mut [0; 256][..]).is_err());
}

/// If the new file cannot get the old one's owner, this is reported before a byte is moved.
#[test]
fn pitfall_32_another_users_file_is_refused() {
    if !needs::root() {
        return;
    }
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"new"), dir.file("sink", b"old"));
    std::fs::set_permissions(&sink, Permissions::from_mode(0o666)).unwrap();
    let program = dir.path("underpass");
    copy_program(env!("CARGO_BIN_EXE_underpass"), &program);
    let run = |options: &[&str]| {
        let mut command = Command::new(&program);
        command.args(["copy", &source, &sink, "-q"]).args(options);
        command.stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::piped());
        Running::start(nobody(command, &dir)).finish()
    };
    run(&["--force"]).fails(1, &[&sink, "belongs to user 0", "--in-place"]);
    assert_eq!(std::fs::read(&sink).unwrap(), b"old");
    assert_eq!(dir.names(), ["sink", "source", "underpass"]);
    run(&["--in-place"]).ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"new");
    assert_eq!(std::fs::metadata(&sink).unwrap().uid(), 0);
}

#[test]
fn pitfall_32_hard_links_are_told_or_kept() {
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"new"), dir.file("sink", b"old"));
    let other = dir.path("other");
    std::fs::hard_link(&sink, &other).unwrap();
    let replaced = run(&["copy", &source, &sink, "--force", "-q"]).ok();
    assert!(
        replaced
            .stderr
            .contains("had 1 other hard link; the old content stays there"),
        "{}",
        replaced.stderr
    );
    assert_eq!(std::fs::read(&other).unwrap(), b"old");
    std::fs::remove_file(&sink).unwrap();
    std::fs::hard_link(&other, &sink).unwrap();
    let written = run(&["copy", &source, &sink, "--in-place", "-q"]).ok();
    assert_eq!(written.stderr, "");
    assert_eq!(std::fs::read(&other).unwrap(), b"new");
}

/// The file is emptied only when bytes are about to come, and after a failure the message says that
/// a part is there.
#[test]
fn in_place_is_what_cp_does() {
    let dir = Dir::in_memory();
    let long = dir.file("long", &vec![1; 100_000]);
    let (short, sink) = (dir.file("short", b"short"), dir.path("sink"));
    run(&["copy", &long, &sink, "--in-place"]).ok();
    run(&["copy", &short, &sink, "--in-place"]).ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"short");
    run(&["copy", &short, &sink]).fails(1, &["exists", "--force", "--in-place"]);
    // A refused transfer empties nothing.
    for options in [&["--route", "reflink"][..], &["--range", "9..99999999"]] {
        let args = ["copy", &long, &sink, "--in-place"];
        let refused = run(&[&args, options].concat());
        assert_eq!(refused.code, 2, "{options:?}: {}", refused.stderr);
        assert_eq!(std::fs::read(&sink).unwrap(), b"short", "{options:?}");
    }
    let (receiver, address) = Running::recv(&[
        "tcp://127.0.0.1:0",
        &sink,
        "--in-place",
        "--expect=9",
        "--receipt=none",
    ]);
    assert_eq!(
        std::fs::read(&sink).unwrap(),
        b"short",
        "nobody has connected"
    );
    let mut peer = crate::support::Stream::connect(&address);
    std::io::Write::write_all(&mut peer, b"part").unwrap();
    peer.end();
    receiver
        .finish()
        .fails(3, &["after 4 of 9 bytes", "holds what came"]);
    assert_eq!(std::fs::read(&sink).unwrap(), b"part");
}

#[test]
fn a_bind_mounted_file_is_refused_before_a_byte_is_moved() {
    let dir = Dir::in_memory();
    let (source, real) = (dir.file("source", b"new"), dir.file("real", b"old"));
    let sink = dir.file("sink", b"");
    let Some(_bound) = Mount::bind(&real, &sink) else {
        return;
    };
    run(&["copy", &source, &sink, "--force"]).fails(1, &[&sink, "mount", "--in-place"]);
    run(&["recv", "tcp://127.0.0.1:0", &sink, "--force"]).fails(1, &[&sink, "mount"]);
    assert_eq!(std::fs::read(&real).unwrap(), b"old");
    run(&["copy", &source, &sink, "--in-place"]).ok();
    assert_eq!(std::fs::read(&real).unwrap(), b"new");
}

/// In a directory with `chattr +a`, files can be made, but never renamed or removed.
#[test]
fn an_append_only_directory_is_left_clean() {
    let Some(mount) = Mount::of("ext4") else {
        return;
    };
    if !needs::tool("chattr") || !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let source = dir.file("source", b"new");
    let (log, old) = (mount.path("log"), mount.path("log/old"));
    std::fs::create_dir(&log).unwrap();
    std::fs::write(&old, b"old").unwrap();
    let mark = |how: &str| {
        let marked = Command::new("chattr").args([how, log.as_str()]).status();
        assert!(marked.unwrap().success());
    };
    mark("+a");
    run(&["copy", &source, &mount.path("log/new")]).ok();
    run(&["copy", &source, &old, "--force"]).fails(1, &[&old, "append-only", "--in-place"]);
    run(&["copy", &source, &mount.path("log/new")]).fails(1, &["exists"]);
    run(&["copy", &source, &mount.path("log/forced"), "--force"]).ok();
    let args = [
        "serve",
        &log,
        "--listen",
        "127.0.0.1:0",
        "--insecure-upload",
    ];
    let server = Server::of(underpass(&args));
    let upload = |name: &str| {
        let url = format!("{}{name}", server.url);
        curl(&["--upload-file", &source, &url]).status
    };
    let statuses = [upload("uploaded"), upload("uploaded"), upload("old")];
    server.stop().ok();
    let entries = std::fs::read_dir(&log).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    mark("-a");
    names.sort();
    assert_eq!(names, ["forced", "new", "old", "uploaded"]);
    assert_eq!(statuses, [201, 403, 403]);
    for name in ["forced", "new", "uploaded"] {
        assert_eq!(std::fs::read(format!("{log}/{name}")).unwrap(), b"new");
    }
    assert_eq!(std::fs::read(&old).unwrap(), b"old");
}

/// Only chattr(1) can remove its own marks, so `--in-place` is not recommended.
#[test]
fn a_marked_file_says_what_lifts_the_mark() {
    let Some(mount) = Mount::of("ext4") else {
        return;
    };
    if !needs::tool("chattr") {
        return;
    }
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"new"), mount.path("sink"));
    std::fs::write(&sink, b"old").unwrap();
    for mark in ["a", "i"] {
        let change = |how: &str| {
            let marked = Command::new("chattr")
                .args([&format!("{how}{mark}"), &sink])
                .status();
            assert!(marked.unwrap().success());
        };
        change("+");
        let refused = run(&["copy", &source, &sink, "--force"]);
        change("-");
        let refused = refused.fails(1, &[&sink, "chattr"]);
        assert!(!refused.stderr.contains("--in-place"), "{}", refused.stderr);
    }
    assert_eq!(std::fs::read(&sink).unwrap(), b"old");
}

/// A directory that may be written but not read: a drop box.
#[test]
fn a_file_is_made_where_the_directory_cannot_be_read() {
    let dir = Dir::in_memory();
    let source = dir.file("source", b"new");
    let program = dir.path("underpass");
    copy_program(env!("CARGO_BIN_EXE_underpass"), &program);
    std::fs::set_permissions(dir.root(), Permissions::from_mode(0o300)).unwrap();
    let options: [&[&str]; 4] = [&[], &["--force"], &["--in-place"], &["--no-sync"]];
    for (number, options) in options.into_iter().enumerate() {
        let sink = dir.path(&number.to_string());
        let mut command = collected(&program);
        command.args(["copy", &source, &sink]).args(options);
        let outcome = Running::start(nobody(command, &dir)).finish();
        assert_eq!(outcome.stderr, "", "{options:?}");
        assert_eq!(std::fs::read(&sink).unwrap(), b"new", "{options:?}");
    }
    std::fs::set_permissions(dir.root(), Permissions::from_mode(0o700)).unwrap();
}

/// Makes the kernel refuse renameat2(2), linkat(2), and files without a name, with ENOSYS.
const REFUSING: &str = "
import ctypes, os, platform, struct, sys
numbers = {'x86_64': [316, 265, 86], 'aarch64': [276, 37]}[platform.machine()]
ENOSYS = 38
code = [(0x20, 0, 0, 0)]
code += [(0x15, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
code += [(6, 0, 0, 0x7fff0000), (6, 0, 0, 0x50000 | ENOSYS)]
lines = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *line) for line in code))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('lines', ctypes.c_void_p)]
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0, 'PR_SET_NO_NEW_PRIVS'
program = Program(len(code), ctypes.addressof(lines))
assert libc.prctl(22, 2, ctypes.byref(program)) == 0, 'PR_SET_SECCOMP'
os.execv(sys.argv[1], sys.argv[1:])
";

/// As on FAT, or behind an old NFS server: the bytes arrive all the same, and an existing file is
/// still not overwritten.
#[test]
fn a_file_system_without_links_and_exclusive_renames_will_do() {
    const PYTHON: &str = "/usr/bin/python3";
    if !needs::tool(PYTHON) {
        return;
    }
    let dir = Dir::in_memory();
    let (source, sink) = (dir.file("source", b"new"), dir.path("sink"));
    let poor =
        |args: &[&str]| Running::start(underpass_by(PYTHON, &["-c", REFUSING], args)).finish();
    poor(&["copy", &source, &sink]).ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"new");
    poor(&["copy", &source, &sink]).fails(1, &["exists"]);
    std::fs::write(&sink, b"old").unwrap();
    poor(&["copy", &source, &sink, "--force"]).ok();
    assert_eq!(std::fs::read(&sink).unwrap(), b"new");
    assert_eq!(dir.names(), ["sink", "source"]);
}
