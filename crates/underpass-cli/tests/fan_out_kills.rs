//! `fan-out` of a stream whose subscribers, or whose producer, are killed at any moment: nobody
//! else misses a byte, and nobody mistakes a part for the whole.

use std::io::{ErrorKind, Write};
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use crate::support::{
    Dir, FanOut, MIB, MORE_THAN_BUFFERS, Outcome, Receipts, Stream, bytes, needs, number, reading,
    taken,
};

const LENGTH: usize = 12 * MIB;

/// A number below `limit` that depends on the seed.
fn drawn(seed: u64, limit: usize) -> usize {
    let drawn = bytes(seed, 8).try_into().unwrap();
    (u64::from_le_bytes(drawn) % limit as u64) as usize
}

fn socat(args: &[&str]) -> Child {
    let mut command = Command::new("socat");
    command
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.spawn().unwrap()
}

/// A subscriber that will die.
enum Victim {
    /// A program, killed by SIGKILL.
    Program(Child),
    /// The test itself, which resets the connection with unread bytes.
    Test(Stream),
}

impl Victim {
    fn subscribe(fan_out: &FanOut, which: u64) -> Self {
        let port = fan_out.port();
        let unix = fan_out.addresses[1].replace("unix:", "UNIX-CONNECT:");
        match which % 3 {
            0 => Self::Program(socat(&["-u", &format!("TCP:127.0.0.1:{port}"), "-"])),
            1 => Self::Program(socat(&["-u", &unix, "-"])),
            _ => Self::Test(fan_out.connect()),
        }
    }

    fn die(self) {
        match self {
            Self::Program(mut program) => {
                program.kill().unwrap();
                program.wait().unwrap();
            }
            Self::Test(stream) => stream.reset(),
        }
    }
}

#[test]
fn a_subscriber_killed_at_any_moment_costs_the_others_no_byte() {
    const CASES: u64 = 30;
    if !needs::tool("socat") {
        return;
    }
    let dir = Dir::new();
    let content = bytes(610, LENGTH);
    let mut gone = 0;
    for seed in 0..CASES {
        let options = ["--await", "4", "--lag", "1MiB", "--receipt", "json"];
        let fan_out = FanOut::to_each_kind(&dir, "tcp://127.0.0.1:0", &options);
        let victim = Victim::subscribe(&fan_out, seed);
        let mut producer = Stream::connect(fan_out.producer());
        let mut first = fan_out.connect();
        let others: Vec<_> = fan_out.connect_mixed(2).into_iter().map(reading).collect();
        let sending = std::thread::spawn({
            let content = content.clone();
            move || {
                producer.write_all(&content).unwrap();
                producer.end();
            }
        });
        // A subscriber that does not read would block all others for good, later in the stream.
        let limit = if seed % 3 == 2 { MIB } else { LENGTH };
        // At least one byte, so that both have been subscribers at the same time.
        let mut got = first.read_exactly(1 + drawn(seed, limit));
        victim.die();
        got.extend(first.read_all());
        assert!(got == content, "seed {seed}: the first");
        for one in others {
            let (got, ended) = one.join().unwrap();
            assert!(got == content && ended.is_ok(), "seed {seed}: {ended:?}");
        }
        sending.join().unwrap();
        gone += assert_told(&fan_out.running.finish(), seed);
    }
    // The others had everything before they died.
    assert!(gone > CASES / 2, "{gone} of {CASES} died in time");
}

/// If one of the four did not get everything, its receipt says so. Returns whether that was the
/// case.
fn assert_told(outcome: &Outcome, seed: u64) -> u64 {
    let receipts = Receipts::of(outcome);
    let short = receipts
        .subscribers
        .iter()
        .filter(|it| it["complete"] == false);
    let short: Vec<_> = short.collect();
    let words = short.iter().map(|it| it["ended"].as_str().unwrap());
    match words.collect::<Vec<_>>()[..] {
        [] => assert_eq!(outcome.code, 0, "seed {seed}: {receipts:?}"),
        ["gone"] => {
            let line = "1 of 4 subscribers did not get everything";
            assert!(outcome.stderr.contains(line), "seed {seed}: {outcome:?}");
            assert_eq!(outcome.code, 3, "seed {seed}");
        }
        _ => panic!("seed {seed}: {receipts:?}"),
    }
    short.len() as u64
}

#[test]
fn a_subscriber_that_holds_all_up_and_dies_lets_them_go_on() {
    if !needs::tool("socat") {
        return;
    }
    let dir = Dir::new();
    for which in 0..3 {
        let options = ["--await", "3", "--receipt", "json", "--threads", "1"];
        let metrics = ["--metrics", "127.0.0.1:0"];
        let options = [&options[..], &metrics].concat();
        let mut fan_out = FanOut::to_each_kind(&dir, "tcp://127.0.0.1:0", &options);
        let mut metrics = fan_out.metrics();
        let victim = Victim::subscribe(&fan_out, which);
        if let Victim::Program(program) = &victim {
            // It is connected but never reads: it is stopped before anything is sent.
            metrics.await_more_than("underpass_fan_out_connections_open", 0);
            let pid = rustix::process::Pid::from_child(program);
            rustix::process::kill_process(pid, Signal::STOP).unwrap();
        }
        let mut producer = Stream::connect(fan_out.producer());
        let others: Vec<_> = fan_out.connect_mixed(2).into_iter().map(reading).collect();
        let sent = fan_out.fill(&mut producer);
        let held_up = taken(&mut metrics);
        assert!((1..sent as u64).contains(&held_up), "{held_up} of {sent}");
        drop(metrics);
        victim.die();
        producer.end();
        for one in others {
            let (got, ended) = one.join().unwrap();
            assert!(got == vec![b'f'; sent] && ended.is_ok(), "{ended:?}");
        }
        let receipts = Receipts::of(&fan_out.running.finish());
        let ended = receipts
            .subscribers
            .iter()
            .map(|it| it["ended"].as_str().unwrap());
        let mut ended: Vec<_> = ended.collect();
        ended.sort_unstable();
        assert_eq!(ended, ["closed", "closed", "gone"], "{receipts:?}");
    }
}

#[test]
fn a_producer_killed_at_any_moment_resets_the_subscribers_or_ends_them_cleanly_as_asked() {
    const CASES: u64 = 16;
    if !needs::tool("socat") {
        return;
    }
    let dir = Dir::new();
    let content = bytes(612, MORE_THAN_BUFFERS);
    let path = dir.file("content", &content);
    for seed in 0..CASES {
        let clean = seed % 2 == 1;
        let mut options = vec!["--await", "3", "--lag", "1MiB", "--receipt", "json"];
        options.extend(clean.then_some("--clean-end"));
        let fan_out = FanOut::to_each_kind(&dir, "tcp://127.0.0.1:0", &options);
        let mut first = fan_out.connect();
        let others = fan_out.connect_mixed(2);
        let is_tcp = |stream: &Stream| matches!(stream, Stream::Tcp(_));
        let others: Vec<_> = others
            .into_iter()
            .map(|stream| (is_tcp(&stream), reading(stream)))
            .collect();
        // The kernel reports its death by a reset, not by an orderly end.
        let host = fan_out.producer().trim_start_matches("tcp://");
        let to = format!("TCP:{host},linger=0");
        let mut producer = socat(&["-u", &format!("OPEN:{path}"), &to]);
        let mut got = first.read_exactly(1 + drawn(seed, LENGTH));
        producer.kill().unwrap();
        producer.wait().unwrap();
        let ended = std::io::Read::read_to_end(&mut first, &mut got);
        let mut all = vec![(true, (got, ended))];
        all.extend(
            others
                .into_iter()
                .map(|(tcp, one)| (tcp, one.join().unwrap())),
        );

        let outcome = fan_out.running.finish();
        let reset = "Connection reset by peer";
        let outcome = outcome.fails(3, &["127.0.0.1:", "broke off after", reset]);
        let receipts = Receipts::of(&outcome);
        let taken = number(&receipts.source, "bytes") as usize;
        assert_eq!(receipts.source["ended"], "died", "{receipts:?}");
        for (is_tcp, (got, ended)) in all {
            assert_eq!(got.len(), taken, "seed {seed}: all that was taken is given");
            assert!(content.starts_with(&got), "seed {seed}: other bytes");
            match ended {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                    assert!(is_tcp && !clean, "seed {seed}: a reset");
                }
                Ok(_) => assert!(!is_tcp || clean, "seed {seed}: it seems to be all"),
            }
        }
        // Whatever is seen on the connections.
        for receipt in &receipts.subscribers {
            assert_eq!(receipt["ended"], "source_died", "seed {seed}: {receipt}");
        }
    }
}
