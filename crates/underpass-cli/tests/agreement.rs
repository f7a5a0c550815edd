//! `send` and `recv` with `--verify` and `--resume`.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;

use crate::support::{
    Between, Dir, Harm, Host, MIB, Outcome, Running, Stream, bytes, port_of, run, underpass,
};
use crate::trees::{listing, planted};

const JSON: &str = "--receipt=json";

/// A tree of some megabytes.
fn large_tree(dir: &Dir) -> String {
    let tree = planted(dir);
    for name in ["b", "c", "z"] {
        fs::write(format!("{tree}/{name}"), bytes(8, 2 * MIB + 77)).unwrap();
    }
    tree
}

/// How many bytes all files below a directory have, holes included.
fn content_of(root: &str) -> u64 {
    let entries = fs::read_dir(root).unwrap();
    let sizes = entries.map(|entry| {
        let entry = entry.unwrap();
        let found = entry.metadata().unwrap();
        match found.is_dir() {
            true => content_of(entry.path().to_str().unwrap()),
            false if found.is_file() => found.len(),
            false => 0,
        }
    });
    sizes.sum()
}

/// Sends and receives with the same options. Returns how both ended.
fn transfer(at: &str, source: &str, sink: &str, options: &[&str]) -> (Outcome, Outcome) {
    let (receiver, address) = Running::recv(&[&[at, sink], options].concat());
    let sent = run(&[&["send", source, &address], options].concat());
    (sent, receiver.finish())
}

fn addresses(dir: &Dir) -> [String; 3] {
    let [tcp, unix] = dir.listening_addresses();
    [tcp, unix, "tls://127.0.0.1:0".to_owned()]
}

#[test]
fn a_verified_tree_is_hashed_once_at_each_end() {
    let dir = Dir::in_memory();
    let tree = large_tree(&dir);
    // A hard link is not sent again.
    let content = content_of(&tree) - 700;
    for (number, at) in addresses(&dir).iter().enumerate() {
        let into = dir.path(&format!("into{number}/"));
        let (sent, got) = transfer(at, &tree, &into, &["--verify", JSON]);
        let (sent, got) = (sent.ok(), got.ok());
        assert_eq!(listing(&format!("{into}tree")), listing(&tree), "{at}");
        for outcome in [&sent, &got] {
            let receipt = outcome.receipt();
            assert!(receipt.complete(), "{at}");
            assert_eq!(receipt.field("checksum")["bytes"], content, "{at}");
            assert_eq!(receipt.field("checksum")["copied"], 0, "{at}");
        }
        let (sent, got) = (sent.receipt(), got.receipt());
        assert_eq!(sent.number("bytes"), got.number("bytes"), "{at}");
        if number < 2 {
            // To hash copies nothing: all large contents still go by the routes without a copy.
            assert_eq!((sent.route(), got.route()), ("sendfile", "splice"), "{at}");
            let spliced = sent.moved_by("sendfile");
            assert!(spliced >= 900_001 + 3 * (2 * MIB as u64 + 77), "{at}");
            assert!(got.moved_by("splice") >= spliced, "{at}");
        }
    }
}

#[test]
fn a_verified_file_arrives_as_an_ordinary_one() {
    let dir = Dir::in_memory();
    let content = bytes(9, 5 * MIB + 3);
    let source = dir.file("in", &content);
    for (number, at) in addresses(&dir).iter().enumerate() {
        let sink = dir.path(&format!("out{number}"));
        let (sent, got) = transfer(at, &source, &sink, &["--verify", "--resume", JSON]);
        let (sent, got) = (sent.ok(), got.ok());
        assert!(fs::read(&sink).unwrap() == content, "{at}");
        assert_eq!(crate::support::mode(&sink), crate::support::mode(&source));
        assert_eq!(sent.receipt().field("checksum")["bytes"], content.len());
        assert_eq!(got.receipt().field("checksum")["bytes"], content.len());
        // The same once more: nothing is sent.
        let (sent, got) = transfer(at, &source, &sink, &["--verify", "--resume", JSON]);
        let (sent, got) = (sent.ok().receipt(), got.ok().receipt());
        assert_eq!(sent.number("already_there"), content.len() as u64, "{at}");
        assert_eq!(got.number("already_there"), content.len() as u64, "{at}");
        assert!(sent.number("bytes") < 10_000, "{at}");
    }
}

#[test]
fn what_is_changed_on_the_way_is_not_kept() {
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    for name in ["a", "b", "c"] {
        fs::write(format!("{tree}/{name}"), bytes(5, 300_000)).unwrap();
    }
    for (options, expected) in [
        (&["--verify"][..], ["a", "c"]),
        (&["--verify", "--resume"], ["a", "c"]),
    ] {
        let into = dir.path(&format!("into{}/", options.len()));
        let (receiver, address) =
            Running::recv(&[&["tcp://127.0.0.1:0", &into, JSON], options].concat());
        // In the middle of "b".
        let harm = Harm {
            flip: Some(450_000),
            ..Harm::default()
        };
        let between = Between::to(port_of(&address), harm);
        let sent = run(&[&["send", &tree, &between.address(&address)], options].concat());
        let got = receiver.finish();
        between.end();
        assert_eq!(got.code, 1, "{}", got.stderr);
        assert!(
            got.stderr.contains("tree/b: it arrived with other content"),
            "{}",
            got.stderr
        );
        assert!(!got.receipt().complete());
        assert_eq!(sent.code, 1, "{}", sent.stderr);
        assert!(
            sent.stderr.contains("1 files arrived with other content"),
            "{}",
            sent.stderr
        );
        assert_eq!(Dir::names_in(&format!("{into}tree")), expected);
    }
    // A single file.
    let (sink, file) = (dir.path("out"), format!("{tree}/a"));
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink, "--verify"]);
    let harm = Harm {
        flip: Some(100_000),
        ..Harm::default()
    };
    let between = Between::to(port_of(&address), harm);
    let sent = run(&["send", &file, &between.address(&address), "--verify"]);
    let got = receiver.finish();
    between.end();
    assert_eq!(
        (sent.code, got.code),
        (1, 1),
        "{}{}",
        sent.stderr,
        got.stderr
    );
    assert!(!Path::new(&sink).exists());
    assert_eq!(
        Dir::names_in(&dir.path(""))
            .iter()
            .filter(|name| name.starts_with('.'))
            .count(),
        0
    );
}

#[test]
fn if_only_one_side_asks_nothing_is_kept_and_it_is_told() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    let file = dir.file("in", &bytes(1, MIB));
    let cases = [
        (&file, "out", &["--verify"][..], &[][..]),
        (&file, "out", &["--resume"], &["--verify"]),
        (&tree, "into/", &["--verify", "--resume"], &[]),
        (&tree, "into/", &[], &["--verify"]),
        (&tree, "into/", &[], &["--resume"]),
        (&file, "out", &[], &["--verify"]),
    ];
    for (source, sink, sender, receiver) in cases {
        for at in addresses(&dir) {
            if at.starts_with("tls") && sink == "out" && receiver.is_empty() {
                // Over TLS a receiver of a file cannot look before it takes.
                continue;
            }
            let sink = dir.path(sink);
            let (running, address) =
                Running::recv(&[&[&at, &sink, "--receipt=none"], receiver].concat());
            let quiet = ["send", source, &address, "--receipt=none"];
            let sent = run(&[&quiet, sender].concat());
            let got = running.finish();
            assert_eq!(got.code, 1, "{at} {sender:?} {receiver:?}: {}", got.stderr);
            assert_ne!(
                sent.code, 0,
                "{at} {sender:?} {receiver:?}: {}",
                sent.stderr
            );
            let wish = sender.iter().chain(receiver).next().unwrap();
            // A sender that asks for nothing does not wait for an answer, but hears it.
            for stderr in [&sent.stderr, &got.stderr] {
                let told = stderr.contains(wish) && stderr.contains("give ");
                assert!(told, "{at} {sender:?} {receiver:?}: {stderr}");
            }
            assert!(!Path::new(&dir.path("out")).exists());
        }
    }
}

/// Over TLS a receiver of a file cannot look before it takes. What it took is not kept.
#[test]
fn a_sender_that_nobody_answers_gives_up_and_leaves_nothing() {
    let dir = Dir::in_memory();
    let file = dir.file("in", &bytes(1, 100_000));
    for option in ["--verify", "--resume"] {
        let sink = dir.path("out");
        let (receiver, address) = Running::recv(&["tls://127.0.0.1:0", &sink]);
        let sent = run(&["send", &file, &address, option, "--timeout", "300ms"]);
        sent.fails(1, &["does not answer to", option, "nothing was sent"]);
        receiver.finish().fails(3, &["512 bytes"]);
        assert!(!Path::new(&sink).exists());
    }
}

/// A receiver that refuses has read only the beginning of what was sent.
#[test]
fn a_plain_sender_hears_why_it_is_refused_whatever_its_size() {
    let dir = Dir::in_memory();
    for (size, at) in [1, 600, 300_000, 8 * MIB]
        .iter()
        .flat_map(|size| addresses(&dir).map(|at| (*size, at)))
    {
        let file = dir.file("in", &bytes(1, size));
        let (receiver, address) = Running::recv(&[&at, &dir.path("out"), "--verify"]);
        let sent = run(&["send", &file, &address]);
        receiver.finish().fails(1, &["nothing was received"]);
        assert_ne!(sent.code, 0);
        let told = sent.stderr.contains("recv was given --verify");
        assert!(told, "{size} to {at}: {}", sent.stderr);
    }
}

#[test]
fn a_file_and_a_directory_do_not_go_together() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    let file = dir.file("in", b"x");
    for (source, sink, words) in [
        (&file, "into/", "single file"),
        (&tree, "out", "a directory or several files"),
    ] {
        let (sent, got) = transfer("tcp://127.0.0.1:0", source, &dir.path(sink), &["--verify"]);
        assert_eq!((sent.code, got.code), (1, 1));
        assert!(sent.stderr.contains(words), "{}", sent.stderr);
        assert!(got.stderr.contains(words), "{}", got.stderr);
    }
}

/// netcat takes what comes and says nothing; tar sends an archive.
#[test]
fn programs_that_are_not_ours_are_told_apart() {
    let dir = Dir::in_memory();
    let tree = planted(&dir);
    for host in Host::each(&dir) {
        let address = host.address();
        let sender = Running::start(underpass(&[
            "send",
            &tree,
            &address,
            "--verify",
            "--timeout",
            "500ms",
        ]));
        let mut peer = host.accept();
        assert_eq!(peer.read_exactly(512)[..7], *b"\x89UNDHEL");
        sender
            .finish()
            .fails(1, &["does not answer to --verify", "nothing was sent"]);
    }
    // One that closes at once.
    let host = Host::tcp();
    let sender = Running::start(underpass(&["send", &tree, &host.address(), "--resume"]));
    let mut peer = host.accept();
    peer.read_exactly(512);
    drop(peer);
    sender.finish().fails(1, &["does not answer to --resume"]);
    for options in [&["--verify"][..], &["--resume"]] {
        let sink = dir.path("into/");
        let (receiver, address) = Running::recv(&[&["tcp://127.0.0.1:0", &sink], options].concat());
        let mut peer = Stream::connect(&address);
        peer.write_all(b"tree/\0\0\0").unwrap();
        receiver
            .finish()
            .fails(1, &["the sender was not asked for", options[0]]);
    }
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let dir = Dir::in_memory();
    let (file, nowhere) = (dir.file("x", b"x"), "tcp://127.0.0.1:9");
    for option in ["--verify", "--resume"] {
        run(&["send", "-", nowhere, option]).fails(2, &[option, "files and directories"]);
        run(&["send", &file, nowhere, option, "--range=1.."]).fails(2, &["--range"]);
        let at = "tcp://127.0.0.1:0";
        run(&["recv", at, "-", option]).fails(2, &[option, "files and directories"]);
        run(&["recv", at, &dir.path("y"), option, "--in-place"]).fails(2, &["--in-place"]);
        run(&["recv", at, &dir.path("y"), option, "--expect=1"]).fails(2, &["--expect"]);
    }
    run(&["recv", "tcp://127.0.0.1:0", &file, "--verify"]).fails(1, &["exists", "--force"]);
}

/// The same numbers each time.
fn seeded(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

/// Breaks a transfer after some bytes, then resumes it.
fn broken_and_resumed(
    dir: &Dir,
    tree: &str,
    (at, cut): (&str, u64),
    options: &[&str],
    who: u64,
) -> u64 {
    let into = dir.path("into/");
    let (receiver, address) = Running::recv(&[&[at, &into, JSON], options].concat());
    let harm = Harm {
        cut: Some(cut),
        ..Harm::default()
    };
    let between = Between::to(port_of(&address), harm);
    let to = between.address(&address);
    let sender = Running::start(underpass(&[&["send", tree, &to, JSON], options].concat()));
    between.await_cut();
    match who {
        0 => sender.signal(Signal::KILL),
        1 => receiver.signal(Signal::KILL),
        _ => {}
    }
    between.end();
    let (sent, got) = (sender.finish(), receiver.finish());
    let context = format!("cut at {cut}, {at}, {options:?}, {who}");
    assert!(
        sent.code != 0 && got.code != 0,
        "{context}: {} {}",
        sent.stderr,
        got.stderr
    );
    let (sent, got) = transfer(at, tree, &into, &[&[JSON], options].concat());
    let (sent, got) = (sent.ok().receipt(), got.ok().receipt());
    assert_eq!(listing(&format!("{into}tree")), listing(tree), "{context}");
    let there = sent.number_or_zero("already_there");
    assert_eq!(there, got.number_or_zero("already_there"), "{context}");
    assert_eq!(sent.number("bytes"), got.number("bytes"), "{context}");
    // What was there is not sent again. The headers are.
    let all = content_of(tree);
    assert!(sent.number("bytes") + there < all + 60_000, "{context}");
    fs::remove_dir_all(&into).unwrap();
    there
}

#[test]
fn a_broken_tree_goes_on_where_it_was() {
    let dir = Dir::in_memory();
    let tree = large_tree(&dir);
    let mut draw = seeded(18);
    let mut there = 0;
    for round in 0..8 {
        let at = ["tcp://127.0.0.1:0", "tls://127.0.0.1:0"][round % 2];
        let options: &[&str] = [&["--resume"][..], &["--resume", "--verify"]][round / 2 % 2];
        let cut = 2_000 + draw(7_000_000);
        there += broken_and_resumed(&dir, &tree, (at, cut), options, draw(3));
    }
    assert!(there > 0, "something had arrived before");
}

/// Without a relay between: the receiver is killed when something has come.
#[test]
fn a_tree_over_a_unix_socket_goes_on_after_a_kill() {
    let dir = Dir::in_memory();
    let tree = large_tree(&dir);
    let into = dir.path("into/");
    let at = format!("unix:{}", dir.path("socket"));
    let (receiver, address) = Running::recv(&[&at, &into, "--resume"]);
    let sender = Running::start(underpass(&["send", &tree, &address, "--resume"]));
    let begun = Instant::now();
    while !Path::new(&format!("{into}tree")).exists() {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing comes");
        std::thread::yield_now();
    }
    receiver.signal(Signal::KILL);
    sender.finish();
    receiver.finish();
    let (sent, got) = transfer(&at, &tree, &into, &["--resume", JSON]);
    let (sent, got) = (sent.ok().receipt(), got.ok().receipt());
    assert_eq!(listing(&format!("{into}tree")), listing(&tree));
    let there = sent.number_or_zero("already_there");
    assert_eq!(there, got.number_or_zero("already_there"));
}

#[test]
fn a_broken_file_goes_on_at_its_byte() {
    let dir = Dir::in_memory();
    let content = bytes(10, 8 * MIB + 5);
    let source = dir.file("in", &content);
    for options in [&["--resume"][..], &["--resume", "--verify"]] {
        let sink = dir.path("out");
        let (receiver, address) = Running::recv(&[&["tcp://127.0.0.1:0", &sink], options].concat());
        let harm = Harm {
            cut: Some(6 * MIB as u64),
            ..Harm::default()
        };
        let between = Between::to(port_of(&address), harm);
        let to = between.address(&address);
        let sender = Running::start(underpass(&[&["send", &source, &to], options].concat()));
        between.await_cut();
        between.end();
        let got = receiver.finish();
        assert_eq!(got.code, 3, "{}", got.stderr);
        assert!(
            got.stderr.contains("is kept for --resume"),
            "{}",
            got.stderr
        );
        assert_ne!(sender.finish().code, 0);
        assert!(!Path::new(&sink).exists());
        let (sent, got) = transfer(
            "tcp://127.0.0.1:0",
            &source,
            &sink,
            &[&[JSON], options].concat(),
        );
        let (sent, got) = (sent.ok().receipt(), got.ok().receipt());
        assert!(fs::read(&sink).unwrap() == content);
        let there = sent.number("already_there");
        assert_eq!(there, got.number("already_there"));
        // All that the receiver had taken, which is all but what TCP held.
        assert!((1..=6 * MIB as u64).contains(&there), "{there}");
        assert!(sent.number("bytes") < content.len() as u64 - there + 10_000);
        fs::remove_file(&sink).unwrap();
    }
}

#[test]
fn what_differs_is_sent_again_and_replaced_only_by_force() {
    let dir = Dir::in_memory();
    let tree = dir.path("tree");
    fs::create_dir(&tree).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::new(1_234_567_890, 7);
    let put = |path: &str, content: &[u8]| {
        fs::write(path, content).unwrap();
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    };
    for name in ["a", "b"] {
        put(&format!("{tree}/{name}"), &bytes(1, 100_000));
    }
    let into = dir.path("into/");
    fs::create_dir_all(format!("{into}tree")).unwrap();
    // The same size and time, but other content; and another size.
    put(&format!("{into}tree/a"), &bytes(2, 100_000));
    put(&format!("{into}tree/b"), &bytes(1, 99_999));
    let at = "tcp://127.0.0.1:0";
    let (sent, got) = transfer(at, &tree, &into, &["--resume", "--verify"]);
    assert_eq!(
        (sent.code, got.code),
        (3, 3),
        "{}{}",
        sent.stderr,
        got.stderr
    );
    for name in ["tree/a", "tree/b"] {
        let told = format!("{name}: it exists; --force replaces it");
        assert!(got.stderr.contains(&told), "{}", got.stderr);
    }
    assert!(
        sent.stderr.contains("did not take 2 entries"),
        "{}",
        sent.stderr
    );
    // Without hashes, the first one is taken for the same.
    let (_, got) = transfer(at, &tree, &into, &["--resume"]);
    assert_eq!(got.stderr.matches("it exists").count(), 1, "{}", got.stderr);
    let (receiver, address) = Running::recv(&[at, &into, "--resume", "--verify", "--force"]);
    run(&["send", &tree, &address, "--resume", "--verify"]).ok();
    receiver.finish().ok();
    assert_eq!(listing(&format!("{into}tree")), listing(&tree));
}

/// A file that somebody prepared under the name of what is kept is not written to.
#[test]
fn a_link_in_the_place_of_a_part_is_not_followed() {
    let dir = Dir::in_memory();
    let source = dir.file("in", &bytes(1, MIB));
    let sink = dir.path("sub/out");
    fs::create_dir(dir.path("sub")).unwrap();
    let victim = dir.file("victim", b"precious");
    // The name of the part, as a broken transfer leaves it.
    let (receiver, address) = Running::recv(&["tcp://127.0.0.1:0", &sink, "--resume"]);
    let harm = Harm {
        cut: Some(MIB as u64 / 2),
        ..Harm::default()
    };
    let between = Between::to(port_of(&address), harm);
    let to = between.address(&address);
    let sender = Running::start(underpass(&["send", &source, &to, "--resume"]));
    between.await_cut();
    between.end();
    receiver.finish();
    sender.finish();
    let names = Dir::names_in(&dir.path("sub"));
    let [part] = &names[..] else {
        panic!("{names:?}");
    };
    let part = dir.path(&format!("sub/{part}"));
    for is_hard in [true, false] {
        fs::remove_file(&part).unwrap();
        if is_hard {
            fs::hard_link(&victim, &part).unwrap();
        } else {
            std::os::unix::fs::symlink(&victim, &part).unwrap();
        }
        let (sent, got) = transfer("tcp://127.0.0.1:0", &source, &sink, &["--resume"]);
        sent.ok();
        got.ok();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert!(fs::read(&sink).unwrap() == bytes(1, MIB));
        fs::remove_file(&sink).unwrap();
        fs::write(&part, b"").unwrap();
    }
}
