//! `--resume` where something is in its way: directories that forbid writing, a file system without
//! locks, other transfers, and what other versions have left.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use rustix::fs::{FlockOperation, flock};
use underpass_archive::agreement::{
    ANSWER_LEN, Answer, HAVE_LEN, HELLO_LEN, Have, Hello, Offer, Offers, Report, Wishes,
};
use underpass_archive::tar::{END, Member, Note, ReadKind, Reader, SparseMap, padding};
use underpass_archive::walk::{Entry, Walk};

use crate::support::{
    Between, Dir, Harm, Host, MIB, Outcome, Running, Stream, bytes, needs, nobody, port_of, run,
    underpass, underpass_by,
};
use crate::trees::listing;

const AT: &str = "tcp://127.0.0.1:0";

/// A tree with one large file. Returns its path.
fn tree(dir: &Dir) -> String {
    let tree = dir.path("tree");
    fs::create_dir_all(format!("{tree}/d")).unwrap();
    fs::write(format!("{tree}/d/large"), bytes(1, 8 * MIB)).unwrap();
    fs::write(format!("{tree}/d/small"), bytes(2, 100)).unwrap();
    tree
}

/// Sends to `receiver`, through a relay that ends after `cut` bytes. Returns how that one ended.
fn broken(receiver: (Running, String), source: &str, cut: u64) -> Outcome {
    let (receiver, address) = receiver;
    let harm = Harm {
        cut: Some(cut),
        ..Harm::default()
    };
    let between = Between::to(port_of(&address), harm);
    let to = between.address(&address);
    let sender = Running::start(underpass(&["send", source, &to, "--resume"]));
    between.await_cut();
    between.end();
    assert_ne!(sender.finish().code, 0);
    receiver.finish()
}

/// Sends to `receiver`. Returns how both ended.
fn whole(receiver: (Running, String), source: &str) -> (Outcome, Outcome) {
    let (receiver, address) = receiver;
    let sent = run(&["send", source, &address, "--resume"]);
    (sent, receiver.finish())
}

fn receiver(into: &str) -> (Running, String) {
    Running::recv(&[AT, into, "--resume"])
}

/// It has ended with `code`, and says all of this.
#[track_caller]
fn says(got: &Outcome, code: i32, all: &[&str]) {
    assert_eq!(got.code, code, "{}", got.stderr);
    for words in all {
        assert!(got.stderr.contains(words), "{words}: {}", got.stderr);
    }
}

/// The hidden files in a directory.
fn parts(directory: &str) -> Vec<String> {
    let names = Dir::names_in(directory);
    names.into_iter().filter(|it| it.starts_with('.')).collect()
}

/// Root is not forbidden anything, so the receiver is somebody else.
#[test]
fn a_directory_that_forbids_writing_is_gone_on_with() {
    let dir = Dir::in_memory();
    let tree = tree(&dir);
    fs::set_permissions(format!("{tree}/d"), Permissions::from_mode(0o555)).unwrap();
    fs::set_permissions(format!("{tree}/d/small"), Permissions::from_mode(0o444)).unwrap();
    let into = dir.path("into/");
    let receiver = || {
        let command = underpass(&["recv", AT, &into, "--resume"]);
        Running::listening(nobody(command, &dir))
    };
    let got = broken(receiver(), &tree, 4 * MIB as u64);
    assert_eq!(got.code, 3, "{}", got.stderr);
    let mode = |name: &str| {
        fs::metadata(format!("{into}tree/{name}"))
            .unwrap()
            .permissions()
    };
    assert_eq!(mode("d").mode() & 0o777, 0o555);
    let (sent, got) = whole(receiver(), &tree);
    sent.ok();
    got.ok();
    assert_eq!(listing(&format!("{into}tree")), listing(&tree));
    // So that the directory can be removed by anybody.
    for closed in [format!("{tree}/d"), format!("{into}tree/d")] {
        fs::set_permissions(closed, Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn without_file_locks_nothing_is_kept_in_part_and_that_is_told() {
    if !needs::tool("strace") {
        return;
    }
    let dir = Dir::in_memory();
    let (tree, into) = (tree(&dir), dir.path("into/"));
    let receiver = || {
        let before = ["-f", "-o", "/dev/null", "-e", "inject=flock:error=ENOLCK"];
        let command = underpass_by("strace", &before, &["recv", AT, &into, "--resume"]);
        Running::listening(command)
    };
    let told = "a file that breaks off cannot be kept here (no file locks)";
    let got = broken(receiver(), &tree, 4 * MIB as u64);
    assert_eq!(got.code, 3, "{}", got.stderr);
    assert_eq!(got.stderr.matches(told).count(), 1, "{}", got.stderr);
    assert!(got.stderr.contains("it is not kept"), "{}", got.stderr);
    assert_eq!(Dir::names_in(&format!("{into}tree/d")), [""; 0]);
    let (sent, got) = whole(receiver(), &tree);
    sent.ok();
    got.ok();
    assert_eq!(listing(&format!("{into}tree")), listing(&tree));
}

#[test]
fn two_transfers_do_not_receive_one_file() {
    let dir = Dir::in_memory();
    let (tree, into) = (tree(&dir), dir.path("into/"));
    broken(receiver(&into), &tree, 4 * MIB as u64);
    let within = format!("{into}tree/d");
    let [part] = &parts(&within)[..] else {
        panic!("{:?}", parts(&within));
    };
    let other = File::open(format!("{within}/{part}")).unwrap();
    flock(&other, FlockOperation::LockExclusive).unwrap();
    let (sent, got) = whole(receiver(&into), &tree);
    sent.fails(3, &["did not take 1 entries"]);
    let told = ["tree/d/large: refused: another transfer is receiving it"];
    says(&got, 3, &told);
    assert_eq!(parts(&within), [part.as_str()]);
    drop(other);
    let (sent, got) = whole(receiver(&into), &tree);
    sent.ok();
    got.ok();
    assert_eq!(listing(&format!("{into}tree")), listing(&tree));
}

/// What came of an older version goes. What this version does not know stays, is told, and is used
/// for nothing.
#[test]
fn what_others_left_is_removed_or_told() {
    let dir = Dir::in_memory();
    let (tree, into) = (tree(&dir), dir.path("into/"));
    broken(receiver(&into), &tree, 4 * MIB as u64);
    let within = format!("{into}tree/d");
    let old = parts(&within);
    assert_eq!(old.len(), 1);
    fs::write(format!("{tree}/d/large"), bytes(3, 8 * MIB)).unwrap();
    let others = [".underpass-2-abc.part", ".underpass-link-7.part"];
    for name in others {
        fs::write(format!("{within}/{name}"), bytes(4, 1000)).unwrap();
    }
    let (sent, got) = whole(receiver(&into), &tree);
    sent.ok();
    let got = got.ok();
    for told in [
        "removed 1 hidden file of older versions",
        "2 hidden files with 2.0 KiB (.underpass-*.part) belong to other transfers or versions",
    ] {
        assert!(got.stderr.contains(told), "{told}: {}", got.stderr);
    }
    assert_eq!(parts(&within), others);
    for name in others {
        let path = format!("{within}/{name}");
        assert!(fs::read(&path).unwrap() == bytes(4, 1000));
    }
    assert!(fs::read(format!("{within}/large")).unwrap() == bytes(3, 8 * MIB));
}

/// An entry `victim` of 100,000 bytes.
fn victim(dir: &Dir) -> Entry {
    let path = dir.file("victim", &bytes(1, 100_000));
    Walk::new(path, "victim").unwrap().next().unwrap().unwrap()
}

/// The sender says where it goes on, and by then the part is shorter: zeros must not take the place
/// of what is missing.
#[test]
fn a_part_that_shrinks_meanwhile_is_no_part() {
    let dir = Dir::in_memory();
    let into = dir.path("into/");
    let entry = victim(&dir);
    let hello = Hello::new(Wishes::new(false, true, false)).to_bytes();
    let (receiving, address) = receiver(&into);
    let mut peer = Stream::connect(&address);
    let begun = [&hello[..], &Member::new(&entry).header(), &bytes(1, 50_000)].concat();
    peer.write_all(&begun).unwrap();
    peer.read_exactly(ANSWER_LEN);
    peer.end();
    receiving.finish().fails(3, &["is kept for --resume"]);
    drop(peer);
    let [part] = &parts(&into)[..] else {
        panic!("{:?}", parts(&into));
    };
    let (receiving, address) = receiver(&into);
    let mut peer = Stream::connect(&address);
    let metadata = entry.metadata();
    let time = (metadata.mtime, metadata.mtime_nanoseconds);
    let mut offers = Offers::default();
    offers.push(&Offer::new(b"victim", metadata.size, time));
    peer.write_all(&[&hello[..], &offers.to_bytes()].concat())
        .unwrap();
    peer.read_exactly(ANSWER_LEN + HAVE_LEN);
    let cut = File::options().write(true).open(format!("{into}{part}"));
    cut.unwrap().set_len(1000).unwrap();
    let rest = Member::new(&entry).sparse(Some(SparseMap::rest(None, 100_000, 50_000)));
    let mut sent = [&Note::goes_on(50_000)[..], &rest.header()].concat();
    sent.extend(&bytes(1, 100_000)[50_000..]);
    sent.resize(sent.len().next_multiple_of(512), 0);
    sent.extend(END);
    peer.write_all(&sent).unwrap();
    peer.end();
    let _ = peer.drain();
    let told = ["victim: what had come of it was changed meanwhile"];
    says(&receiving.finish(), 3, &told);
    assert_eq!(Dir::names_in(&into), [""; 0]);
}

/// Between the question whether the receiver has a file and its turn, it gets other content.
#[test]
fn a_file_that_changes_before_its_turn_is_told() {
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    let file = format!("{tree}/f");
    fs::write(&file, b"before").unwrap();
    let old = File::open(&file).unwrap();
    old.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let host = Host::tcp();
    let sender = Running::start(underpass(&["send", &tree, &host.address(), "--resume"]));
    let mut peer = host.accept();
    peer.read_exactly(HELLO_LEN);
    peer.write_all(&Answer::Agreed.to_bytes()).unwrap();
    let mut reader = Reader::new();
    let mut next = |peer: &mut Stream| {
        let member = reader.next(peer).unwrap()?;
        peer.read_exactly((member.stored + padding(member.stored)) as usize);
        Some(member)
    };
    while next(&mut peer).unwrap().kind != ReadKind::Note(Note::Offers) {}
    fs::write(&file, b"behind").unwrap();
    peer.write_all(&Have::Nothing.to_bytes()).unwrap();
    while next(&mut peer).is_some() {}
    let report = Report::new(1, 0, 0, 0).to_bytes();
    peer.write_all(&report).unwrap();
    peer.end();
    let _ = peer.drain();
    says(
        &sender.finish(),
        3,
        &["tree/f: it changed while it was sent"],
    );
}

/// What is there under the name of a file that was refused is another file.
#[test]
fn a_hard_link_to_a_file_that_was_refused_is_refused() {
    let dir = Dir::in_memory();
    let (tree, into) = (dir.path("tree"), dir.path("into/"));
    fs::create_dir_all(&tree).unwrap();
    fs::create_dir_all(format!("{into}tree")).unwrap();
    fs::write(format!("{tree}/a"), b"right").unwrap();
    fs::hard_link(format!("{tree}/a"), format!("{tree}/b")).unwrap();
    fs::write(format!("{into}tree/a"), b"another").unwrap();
    for options in [
        &[][..],
        &["--resume"],
        &["--verify"],
        &["--resume", "--verify"],
    ] {
        let (receiver, address) = Running::recv(&[&[AT, &into], options].concat());
        let sent = run(&[&["send", &tree, &address], options].concat());
        // Only if both agree on something, the sender hears of it.
        assert_eq!(sent.code, if options.is_empty() { 0 } else { 3 });
        let told = [
            "tree/a: it exists",
            "tree/b: refused: the file that it links to did not arrive",
        ];
        says(&receiver.finish(), 3, &told);
        assert_eq!(Dir::names_in(&format!("{into}tree")), ["a"], "{options:?}");
    }
}
