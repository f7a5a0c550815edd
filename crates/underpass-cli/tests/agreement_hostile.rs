//! Peers that break the rules of `--verify` and `--resume`: one clear line, no hang, nothing kept.

use std::fs;
use std::io::Write;

use underpass_archive::agreement::{Answer, Have, Hello, Offer, Offers, Report, Wishes};
use underpass_archive::tar::{END, Member, Note, SparseMap};
use underpass_archive::walk::Walk;

use crate::support::{Dir, Host, Running, Stream, bytes, underpass};

const BOTH: Wishes = Wishes::new(true, true, false);

/// A member of an archive: a file with 1000 bytes.
fn file(dir: &Dir, from: Option<u64>) -> Vec<u8> {
    let path = dir.file("victim", &bytes(1, 1000));
    let entry = Walk::new(path, "victim").unwrap().next().unwrap().unwrap();
    let rest = from.map(|from| SparseMap::rest(None, 1000, from));
    let member = Member::new(&entry).sparse(rest);
    let start = from.unwrap_or(0) as usize;
    let mut bytes = [member.header(), bytes(1, 1000)[start..].to_vec()].concat();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

#[test]
fn senders_that_break_the_rules_are_refused() {
    let dir = Dir::in_memory();
    let hello = Hello::new(BOTH).to_bytes().to_vec();
    let with = |more: &[&[u8]]| [&[&hello[..]], more].concat().concat();
    let mut other_version = hello.clone();
    other_version[8] = 99;
    let mut unknown = hello.clone();
    unknown[9] = 0xff;
    let mut too_long = Note::hash(&[0; 32]);
    too_long[156] = b'Q';
    too_long[124..135].copy_from_slice(b"77777777777");
    let sum = |block: &mut Vec<u8>| {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    };
    sum(&mut too_long);
    let mut garbage = Offers::default();
    garbage.push(&Offer::new(b"x", 1, (0, 0)));
    let mut cut_off = garbage.to_bytes();
    cut_off[124..135].copy_from_slice(b"00000000011");
    cut_off.truncate(512);
    sum(&mut cut_off);
    cut_off.extend([0xff; 512]);
    let (plain, rest) = (file(&dir, None), file(&dir, Some(500)));
    let cases = [
        (other_version, 1, "another version"),
        (unknown, 1, "unknown"),
        (hello[..100].to_vec(), 1, "no hello"),
        (with(&[&too_long]), 1, "longer than any"),
        (with(&[&cut_off]), 1, "cut off"),
        (with(&[&plain, END]), 1, "without its hash"),
        (with(&[&plain]), 3, "its end is missing"),
        (
            with(&[&rest, &Note::hash(&[0; 32]), END]),
            1,
            "with other content",
        ),
        (with(&[&Note::goes_on(500), &rest, END]), 1, "not there"),
        (
            with(&[&Note::goes_on(u64::MAX), &rest, END]),
            1,
            "not there",
        ),
        (
            with(&[&plain, &Note::hash(&[7; 32]), END]),
            1,
            "with other content",
        ),
        (with(&[&bytes(3, 1024)]), 1, "not a tar header"),
    ];
    for (number, (sent, code, words)) in cases.iter().enumerate() {
        let into = dir.path(&format!("into{number}/"));
        let arguments = ["tcp://127.0.0.1:0", &into, "--verify", "--resume"];
        let (receiver, address) = Running::recv(&arguments);
        let mut peer = Stream::connect(&address);
        // The receiver may have given up already.
        let _ = peer.write_all(sent);
        if let Stream::Tcp(stream) = &peer {
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let _ = peer.drain();
        let got = receiver.finish();
        assert_eq!(got.code, *code, "{number}: {}", got.stderr);
        assert!(
            got.stderr.contains(words),
            "{number}, {words}: {}",
            got.stderr
        );
        let kept = Dir::names_in(&into);
        assert!(!kept.contains(&"victim".to_owned()), "{number}: {kept:?}");
    }
}

#[test]
fn receivers_that_break_the_rules_are_left() {
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(format!("{tree}/f"), bytes(1, 1000)).unwrap();
    let hash = [1; 32];
    let agreed = Answer::Agreed.to_bytes().to_vec();
    let mut unknown = Have::Nothing.to_bytes();
    unknown[0] = 77;
    let report = Report::default().to_bytes();
    let part = |length: u64| Have::Part { length, hash }.to_bytes().to_vec();
    let cases = [
        (vec![b'x'; 16], 1, "no message of underpass"),
        (Answer::Unknown.to_bytes().to_vec(), 1, "another version"),
        (agreed.clone(), 3, "before it had kept all"),
        ([&agreed[..], &unknown].concat(), 1, "something unknown"),
        (
            [&agreed[..], &[0; 41], &[9; 48]].concat(),
            1,
            "no message of underpass",
        ),
        // More than the file has, and another hash than it has: all of it is sent.
        ([&agreed[..], &part(u64::MAX), &report].concat(), 0, ""),
        ([&agreed[..], &part(10), &report].concat(), 0, ""),
        (
            [&agreed[..], &Have::Whole { hash }.to_bytes(), &report].concat(),
            0,
            "",
        ),
    ];
    for (number, (says, code, words)) in cases.iter().enumerate() {
        let host = Host::tcp();
        let address = host.address();
        let arguments = ["send", &tree, &address, "--verify", "--resume"];
        let sender = Running::start(underpass(&arguments));
        let mut peer = host.accept();
        peer.read_exactly(512);
        let _ = peer.write_all(says);
        peer.end();
        let _ = peer.drain();
        drop(peer);
        let sent = sender.finish();
        assert_eq!(sent.code, *code, "{number}: {}", sent.stderr);
        assert!(
            sent.stderr.contains(words),
            "{number}, {words}: {}",
            sent.stderr
        );
    }
}
