//! Directories, sent by `send DIR` and unpacked by `recv DIR/`.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::support::{
    Dir, Host, MORE_THAN_BUFFERS, Mount, Outcome, Running, Stream, bytes, nobody, run, underpass,
};

/// A tree with everything that an archive can hold. Returns its path.
pub(crate) fn planted(dir: &Dir) -> String {
    let root = dir.path("tree");
    let at = |name: &str| Path::new(&root).join(name);
    fs::create_dir_all(at("a/empty")).unwrap();
    fs::write(at("a/large"), bytes(1, 900_001)).unwrap();
    fs::write(at("a/small"), bytes(2, 700)).unwrap();
    fs::write(at("a/nothing"), "").unwrap();
    fs::hard_link(at("a/small"), at("hard")).unwrap();
    symlink("a/small", at("soft")).unwrap();
    symlink("/nowhere/at/all", at("dangling")).unwrap();
    fs::write(at(&"n".repeat(255)), "long").unwrap();
    fs::write(at("\u{e9}t\u{e9} \n"), "odd").unwrap();
    let sparse = File::create(at("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    sparse.write_all_at(&bytes(3, 70_000), 3 << 20).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 123_456_789);
    for name in ["a/large", "sparse", "a/empty", "a"] {
        File::open(at(name)).unwrap().set_modified(time).unwrap();
    }
    let modes = [("a/large", 0o600), ("a/small", 0o700), ("a/empty", 0o700)];
    for (name, mode) in modes {
        fs::set_permissions(at(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    root
}

/// What there is below a directory, one line an entry, without times of links.
pub(crate) fn listing(root: &str) -> Vec<String> {
    let mut lines = Vec::new();
    list(Path::new(root), Path::new(""), &mut lines);
    lines.sort();
    lines
}

fn list(root: &Path, at: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(root.join(at)).unwrap() {
        let path = at.join(entry.unwrap().file_name());
        let full = root.join(&path);
        let found = fs::symlink_metadata(&full).unwrap();
        let what = if found.is_symlink() {
            format!("-> {}", fs::read_link(&full).unwrap().display())
        } else {
            let content = if found.is_file() {
                format!("{:?} {}", digest(&full), found.nlink())
            } else {
                String::new()
            };
            let time = (found.mtime(), found.mtime_nsec());
            format!("{:o} {time:?} {content}", found.mode() & 0o7777)
        };
        lines.push(format!("{} {what}", path.display()));
        if found.is_dir() {
            list(root, &path, lines);
        }
    }
}

/// The length of a file and a sum over its content.
fn digest(path: &Path) -> (usize, u64) {
    let content = fs::read(path).unwrap();
    let step = |sum: u64, byte: &u8| sum.wrapping_mul(31).wrapping_add(u64::from(*byte) + 1);
    (content.len(), content.iter().fold(0, step))
}

fn unpacking(args: &[&str]) -> (Running, String) {
    Running::recv(args)
}

/// Sends `bytes` to `recv DIR/`, and ends the connection. Returns how recv ended.
fn unpack(bytes: &[u8], into: &str, options: &[&str]) -> Outcome {
    let (receiver, address) = unpacking(&[&["tcp://127.0.0.1:0", into], options].concat());
    let mut peer = Stream::connect(&address);
    // A receiver that gives up resets the connection; its own outcome shows that.
    let _ = peer.write_all(bytes);
    if let Stream::Tcp(stream) = &peer {
        let _ = stream.shutdown(std::net::Shutdown::Write);
    }
    receiver.finish()
}

/// The archive that `send` makes of `sources`.
fn archived(dir: &Dir, sources: &[&str]) -> Vec<u8> {
    let file = dir.path("archive.tar");
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &file, "--force"]);
    run(&[&["send"], sources, &[&address]].concat()).ok();
    receiver.finish().ok();
    fs::read(file).unwrap()
}

#[test]
fn a_tree_arrives_as_it_was() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    for (number, at) in dir.listening_addresses().iter().enumerate() {
        let into = dir.path(&format!("into{number}/"));
        let json = "--receipt=json";
        let (receiver, address) = unpacking(&[at, &into, json]);
        let sent = run(&["send", &tree, &address, json]).ok();
        let got = receiver.finish().ok();
        assert_eq!(listing(&format!("{into}tree")), listing(&tree), "{at}");
        let (sent, got) = (sent.receipt(), got.receipt());
        assert!(sent.complete() && got.complete());
        assert_eq!(sent.number("bytes"), got.number("bytes"));
        assert_eq!(sent.route(), "sendfile");
        assert_eq!(got.route(), "splice");
        // Of the contents, only that of the small files is copied: to read it, and to send it.
        let gathered = sent.number("bytes") - 900_001 - 70_000;
        // The file system says in pages where a file has data.
        let small = 700 + 4 + 3;
        let copied = sent.cpu_bytes().unwrap();
        let expected = gathered - 4096..=gathered + small;
        assert!(expected.contains(&copied), "{copied}, not {expected:?}");
        let blocks = fs::metadata(format!("{into}tree/sparse")).unwrap().blocks();
        assert!(blocks * 512 < 1 << 20, "holes stay holes: {blocks} blocks");
    }
}

#[test]
fn the_same_tree_is_the_same_archive() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    assert!(archived(&dir, &[&tree]) == archived(&dir, &[&tree]));
}

#[test]
fn several_sources_arrive_side_by_side() {
    let dir = Dir::in_memory();
    let (file, other) = (dir.file("file", b"content"), dir.path("other/"));
    fs::create_dir(&other).unwrap();
    fs::write(format!("{other}x"), "inner").unwrap();
    let into = dir.path("into");
    fs::create_dir(&into).unwrap();
    let (receiver, address) = unpacking(&["tcp://127.0.0.1:0", &into]);
    run(&["send", &file, &other, &address]).ok();
    receiver.finish().ok();
    assert_eq!(fs::read(format!("{into}/file")).unwrap(), b"content");
    assert_eq!(fs::read(format!("{into}/other/x")).unwrap(), b"inner");
}

#[test]
fn a_tree_with_a_dot_comes_without_a_directory_around_it() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    let into = dir.path("into/");
    let (receiver, address) = unpacking(&["tcp://127.0.0.1:0", &into]);
    run(&["send", &format!("{tree}/."), &address]).ok();
    receiver.finish().ok();
    assert_eq!(listing(&into), listing(&tree));
}

#[test]
fn a_tree_goes_through_tls() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    let into = dir.path("into/");
    let (receiver, address) = Running::recv(&["tls://127.0.0.1:0", &into]);
    run(&["send", &tree, &address]).ok();
    receiver.finish().ok();
    assert_eq!(listing(&format!("{into}tree")), listing(&tree));
}

#[test]
fn what_cannot_be_read_is_told_and_the_rest_is_sent() {
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir_all(format!("{tree}/closed")).unwrap();
    for name in ["a", "secret", "z"] {
        fs::write(format!("{tree}/{name}"), name).unwrap();
    }
    let _socket = std::os::unix::net::UnixListener::bind(format!("{tree}/socket")).unwrap();
    for name in ["secret", "closed"] {
        let none = fs::Permissions::from_mode(0o000);
        fs::set_permissions(format!("{tree}/{name}"), none).unwrap();
    }
    let into = dir.path("into/");
    let (receiver, address) = unpacking(&["tcp://127.0.0.1:0", &into]);
    let sender = nobody(underpass(&["send", &tree, &address]), &dir);
    let sent = Running::start(sender).finish();
    receiver.finish().ok();
    fs::set_permissions(format!("{tree}/closed"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(sent.code, 3, "{}", sent.stderr);
    for told in [
        "tree/closed/: Permission denied",
        "tree/secret: Permission denied",
        "a socket",
    ] {
        assert!(sent.stderr.contains(told), "{}", sent.stderr);
    }
    let names = |at: &str| Dir::names_in(&format!("{into}{at}"));
    assert_eq!(names("tree"), ["a", "closed", "z"]);
}

/// The file ends early or late, and the archive stays whole.
#[test]
fn pitfall_02_a_file_that_changes_while_it_is_sent_is_told() {
    for (length, told) in [
        (20 << 20, "it became shorter while it was sent"),
        (MORE_THAN_BUFFERS as u64 * 2, "it changed while it was sent"),
    ] {
        let dir = Dir::in_memory();
        let tree = dir.path("tree");
        fs::create_dir(&tree).unwrap();
        let file = format!("{tree}/f");
        fs::write(&file, bytes(4, MORE_THAN_BUFFERS)).unwrap();
        fs::write(format!("{tree}/later"), "later").unwrap();
        let host = Host::tcp();
        let address = host.address();
        let sender = Running::start(underpass(&["send", &tree, &address]));
        let mut peer = host.accept();
        let mut all = peer.read_exactly(1);
        File::options()
            .write(true)
            .open(&file)
            .unwrap()
            .set_len(length)
            .unwrap();
        all.extend(peer.read_all());
        drop(peer);
        let sent = sender.finish();
        assert_eq!(sent.code, 3, "{}", sent.stderr);
        assert!(sent.stderr.contains(told), "{}", sent.stderr);
        let into = dir.path("into/");
        unpack(&all, &into, &[]).ok();
        let found = fs::read(format!("{into}tree/f")).unwrap();
        assert_eq!(found.len(), MORE_THAN_BUFFERS);
        assert_eq!(fs::read(format!("{into}tree/later")).unwrap(), b"later");
    }
}

#[test]
fn a_broken_stream_keeps_what_is_whole() {
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(format!("{tree}/{name}"), bytes(5, 300_000)).unwrap();
    }
    let archive = archived(&dir, &[&tree]);
    let into = dir.path("into/");
    let got = unpack(&archive[..archive.len() / 2], &into, &[]);
    assert_eq!(got.code, 3, "{}", got.stderr);
    assert!(got.stderr.contains("tree/b"), "{}", got.stderr);
    assert!(got.stderr.contains(": 1 file, "), "{}", got.stderr);
    assert_eq!(Dir::names_in(&format!("{into}tree")), ["a"]);
    // Without its end, an archive may have had more.
    let got = unpack(&archive[..archive.len() - 1024], &dir.path("other/"), &[]);
    assert_eq!(got.code, 3, "{}", got.stderr);
    assert!(got.stderr.contains("its end is missing"), "{}", got.stderr);
}

#[test]
fn a_full_disk_ends_it() {
    let Some(small) = Mount::tmpfs("size=1m") else {
        return;
    };
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(format!("{tree}/{name}"), bytes(6, 400_000)).unwrap();
    }
    let archive = archived(&dir, &[&tree]);
    let into = small.path("into/");
    let got = unpack(&archive, &into, &[]);
    assert_eq!(got.code, 1, "{}", got.stderr);
    assert!(got.stderr.contains("No space left"), "{}", got.stderr);
    assert_eq!(Dir::names_in(&format!("{into}tree")), ["a", "b"]);
}

#[test]
fn existing_files_are_replaced_only_by_force() {
    let dir = Dir::in_memory();
    let archive = archived(&dir, &[&dir.file("f", b"new"), &dir.file("g", b"new")]);
    let into = dir.path("into/");
    fs::create_dir(&into).unwrap();
    fs::write(format!("{into}f"), "old").unwrap();
    let got = unpack(&archive, &into, &[]);
    assert_eq!(got.code, 3, "{}", got.stderr);
    assert!(
        got.stderr.contains("f: it exists; --force replaces it"),
        "{}",
        got.stderr
    );
    assert_eq!(fs::read(format!("{into}f")).unwrap(), b"old");
    assert_eq!(fs::read(format!("{into}g")).unwrap(), b"new");
    unpack(&archive, &into, &["--force"]).ok();
    assert_eq!(fs::read(format!("{into}f")).unwrap(), b"new");
}

/// The rules are tested one by one in `underpass-archive`; this is the whole way.
#[test]
fn nothing_leaves_the_directory() {
    let dir = Dir::in_memory();
    fs::create_dir(dir.path("out")).unwrap();
    let mut archive = tar_header(b"l", b'2', b"../out");
    archive.extend(tar_header(b"l/x", b'0', b""));
    archive.extend(tar_header(b"../out/y", b'0', b""));
    archive.extend(tar_header(b"/tmp/underpass-must-not-exist", b'0', b""));
    archive.extend(tar_header(b"null", b'3', b""));
    archive.extend(tar_header(b"fine", b'0', b""));
    archive.extend([0; 1024]);
    let into = dir.path("into/");
    let got = unpack(&archive, &into, &["--force"]);
    assert_eq!(got.code, 3, "{}", got.stderr);
    assert_eq!(got.stderr.matches("refused: ").count(), 4, "{}", got.stderr);
    assert_eq!(Dir::names_in(&dir.path("out")), [""; 0]);
    assert!(!Path::new("/tmp/underpass-must-not-exist").exists());
    assert_eq!(Dir::names_in(&into), ["fine", "l"]);
}

fn tar_header(name: &[u8], kind: u8, link: &[u8]) -> Vec<u8> {
    let mut block = vec![0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000644");
    block[124..135].copy_from_slice(b"00000000000");
    block[148..156].fill(b' ');
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[test]
fn what_is_no_archive_is_told_so() {
    let dir = Dir::in_memory();
    let got = unpack(&bytes(7, 10_000), &dir.path("into/"), &[]);
    assert_eq!(got.code, 1, "{}", got.stderr);
    for told in ["not a tar header", "name a file to keep what comes"] {
        assert!(got.stderr.contains(told), "{}", got.stderr);
    }
    for (begin, told) in [
        (&b"\x1f\x8b\x08"[..], "compressed (gzip)"),
        (b"BZh9", "tar xj"),
        (b"\xfd7zXZ\0", "tar xJ"),
        (b"\x28\xb5\x2f\xfd", "compressed (zstd)"),
    ] {
        for size in [100, 10_000] {
            let bytes = [begin, &bytes(7, size)].concat();
            let got = unpack(&bytes, &dir.path("into/"), &[]);
            assert_eq!(got.code, 1, "{}", got.stderr);
            assert!(got.stderr.contains(told), "{}", got.stderr);
        }
    }
    let mut named = tar_header(b"BZhello", b'0', b"");
    named.extend([0; 1024]);
    assert_eq!(unpack(&named, &dir.path("into/"), &[]).code, 0);
}

#[test]
fn options_that_do_not_fit_are_refused() {
    let dir = Dir::in_memory();
    let (file, nowhere) = (dir.file("x", b"x"), "tcp://127.0.0.1:9");
    let other = dir.path("other");
    fs::create_dir(&other).unwrap();
    let same = format!("{other}/x");
    fs::write(&same, "y").unwrap();
    let into = dir.path("into/");
    run(&["send", &file, &same, nowhere]).fails(2, &[&same, "the same name"]);
    run(&["send", &file, "-", nowhere]).fails(2, &["standard input"]);
    run(&["send", &other, nowhere, "--range", "1.."]).fails(2, &["--range"]);
    run(&["send", &file, nowhere, "--owners"]).fails(2, &["--owners", &file]);
    run(&["recv", "tcp://127.0.0.1:0", &into, "--expect", "5"]).fails(2, &["--expect"]);
    run(&["recv", "tcp://127.0.0.1:0", &into, "--in-place"]).fails(2, &["--in-place"]);
    run(&["recv", "tcp://127.0.0.1:0", &dir.path("f"), "--owners"]).fails(2, &["--owners"]);
}

/// 200 levels, each with a name of 255 bytes.
#[test]
fn a_deep_tree_arrives() {
    let dir = Dir::in_memory();
    let name = "n".repeat(255);
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    let mut at = File::open(&tree).unwrap();
    for _ in 0..200 {
        rustix::fs::mkdirat(&at, &name, rustix::fs::Mode::RWXU).unwrap();
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY;
        let inner = rustix::fs::openat(
            &at,
            OsStr::from_bytes(name.as_bytes()),
            flags,
            rustix::fs::Mode::empty(),
        );
        at = inner.unwrap().into();
    }
    let archive = archived(&dir, &[&tree]);
    let into = dir.path("into/");
    unpack(&archive, &into, &[]).ok();
    let again = archived(&dir, &[&format!("{into}tree")]);
    assert!(again == archive);
}
