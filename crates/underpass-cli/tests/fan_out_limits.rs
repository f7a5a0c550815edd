//! `fan-out` when pipes, descriptors or connections run out, and with many subscribers.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{
    Dir, FanOut, MIB, Receipts, Running, Stream, by, bytes, needs, number, reading, run,
    underpass_by, without_pipes,
};

const ACCEPTED: &str = "underpass_fan_out_connections_accepted_total";
const OPEN: &str = "underpass_fan_out_connections_open";
const PAUSES: &str = "underpass_fan_out_accept_pauses_total";
const WITHOUT_PIPE: &str = "underpass_fan_out_pipes_refused_total";
const PRODUCED: [&str; 3] = ["fan-out", "--from", "tcp://127.0.0.1:0"];
const COUNTED: [&str; 4] = ["--receipt", "json", "--metrics", "127.0.0.1:0"];

#[test]
fn pitfall_13_without_pipes_bulk_is_copied_and_counted() {
    let args = ["--listen", "127.0.0.1:0", "--await", "2"];
    let dir = Dir::new();
    let Some(command) = without_pipes(&dir, &[&PRODUCED[..], &args, &COUNTED].concat()) else {
        return;
    };
    let mut fan_out = FanOut::of(Running::start(command));
    let mut metrics = fan_out.metrics();
    let mut producer = Stream::connect(fan_out.producer());
    let all = [reading(fan_out.connect()), reading(fan_out.connect())];
    let content = bytes(650, 8 * MIB);
    producer.write_all(&content).unwrap();
    metrics.await_more_than(WITHOUT_PIPE, 0);
    drop(metrics);
    producer.end();
    for one in all {
        assert!(one.join().unwrap().0 == content);
    }
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    let source = &receipts.source;
    assert!(number(source, "pipes_refused") > 0, "{source}");
    assert_eq!(by(source, "read-write"), 8 * MIB as u64, "{source}");
    assert_eq!(
        number(source, "delivered_copied"),
        16 * MIB as u64,
        "{source}"
    );
}

#[test]
fn without_a_descriptor_accepting_pauses_and_goes_on_and_who_is_there_is_served() {
    let options = [&COUNTED[..], &["--threads", "1"]].concat();
    let (mut fan_out, mut producer) = FanOut::produced(&options);
    let mut metrics = fan_out.metrics();
    let mut first = fan_out.connect();
    producer.write_all(b"x").unwrap();
    assert_eq!(first.read_exactly(1), b"x");
    assert_eq!((metrics.sample(ACCEPTED), metrics.sample(PAUSES)), (1, 0));

    let usual = fan_out.running.forbid_descriptors();
    let second = fan_out.connect();
    for pauses in 0..3 {
        metrics.await_more_than(PAUSES, pauses);
        // It sleeps between two attempts.
        fan_out.running.await_sleep();
    }
    assert_eq!(metrics.sample(ACCEPTED), 1);
    // Connected subscribers continue, without a pipe if there is none.
    let content = bytes(651, 2 * MIB);
    let sending = std::thread::spawn({
        let content = content.clone();
        move || {
            producer.write_all(&content).unwrap();
            producer
        }
    });
    assert!(first.read_exactly(content.len()) == content);
    assert!(metrics.sample(WITHOUT_PIPE) > 0);

    fan_out.running.limit_descriptors(usual);
    metrics.await_more_than(ACCEPTED, 1);
    let mut producer = sending.join().unwrap();
    producer.write_all(b"to both").unwrap();
    producer.end();
    for mut one in [first, second] {
        assert_eq!(one.read_all(), b"to both");
    }
    Receipts::of(&fan_out.running.finish().ok());
}

#[test]
fn a_file_is_given_although_descriptors_run_out() {
    let dir = Dir::new();
    let content = bytes(652, MIB);
    let path = dir.file("content", &content);
    let mut fan_out = FanOut::from(&path, &["--threads", "1", "--metrics", "127.0.0.1:0"]);
    let mut metrics = fan_out.metrics();
    let usual = fan_out.running.forbid_descriptors();
    let waiting = reading(fan_out.connect());
    metrics.await_more_than(PAUSES, 1);
    fan_out.running.limit_descriptors(usual);
    assert!(waiting.join().unwrap().0 == content);
    drop(metrics);
    fan_out.stop().ok();
}

#[test]
fn more_subscribers_than_allowed_wait() {
    let dir = Dir::new();
    let content = bytes(653, 24 * MIB);
    let path = dir.file("content", &content);
    let options = ["--max-connections", "1", "--metrics", "127.0.0.1:0"];
    let mut fan_out = FanOut::from(&path, &options);
    let mut metrics = fan_out.metrics();
    let mut first = fan_out.connect();
    let mut got = first.read_exactly(1);
    let second = reading(fan_out.connect());
    assert_eq!((metrics.sample(ACCEPTED), metrics.sample(OPEN)), (1, 1));
    got.extend(first.read_all());
    drop(first);
    assert!(got == content && second.join().unwrap().0 == content);
    assert_eq!(metrics.sample(ACCEPTED), 2);
    drop(metrics);
    fan_out.stop().ok();
}

#[test]
fn more_connections_than_descriptors_are_told_of_and_served_in_turn() {
    if !needs::tool("prlimit") {
        return;
    }
    let dir = Dir::new();
    let content = bytes(654, MIB);
    let path = dir.file("content", &content);
    let args = ["fan-out", "--listen", "127.0.0.1:0", "--from", &path];
    let wanted = ["--max-connections", "1000", "--threads", "1"];
    let limit = ["--nofile=250:250", "--"];
    let command = underpass_by("prlimit", &limit, &[&args[..], &wanted].concat());
    let mut running = Running::start(command);
    let line = running.line();
    assert!(line.contains("do not fit into the 250 files"), "{line}");
    let fan_out = FanOut::of(running);
    let all: Vec<_> = (0..60).map(|_| reading(fan_out.connect())).collect();
    for one in all {
        assert!(one.join().unwrap().0 == content);
    }
    fan_out.stop().ok();
}

#[test]
fn more_subscribers_cannot_be_awaited_than_there_may_be() {
    let args = ["fan-out", "--listen", "127.0.0.1:0", "--from", "-"];
    let options = ["--await", "5", "--max-connections", "4"];
    let outcome = run(&[&args[..], &options].concat());
    outcome.fails(2, &["--await 5", "--max-connections"]);
}

#[test]
fn two_hundred_subscribers_get_every_byte() {
    const SUBSCRIBERS: usize = 200;
    let dir = Dir::new();
    let content = bytes(655, 2 * MIB + 3);
    let options = ["--await", "200", "--receipt", "json"];
    let fan_out = FanOut::to_each_kind(&dir, "tcp://127.0.0.1:0", &options);
    let mut producer = Stream::connect(fan_out.producer());
    let all = fan_out.connect_mixed(SUBSCRIBERS).into_iter().map(reading);
    let all: Vec<_> = all.collect();
    producer.write_all(&content).unwrap();
    producer.end();
    for one in all {
        let (got, ended) = one.join().unwrap();
        assert!(got == content && ended.is_ok(), "{ended:?}");
    }
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    assert_eq!(receipts.subscribers.len(), SUBSCRIBERS);
    receipts.assert_tees();
}

/// How full the pool of pipes is changes all the time, because a pipe that holds bytes when nobody
/// wants them is closed and not pooled. So pipes have a bound that includes a full pool, and
/// so many subscribers come that a leak of one descriptor in 100 of them is more.
#[test]
fn pitfall_13_after_thousands_of_short_subscribers_no_descriptor_is_left() {
    const THREADS: usize = 4;
    const SUBSCRIBERS: usize = 6000;
    /// Both ends of 16 pipes in the pool, of one with the source, and of one more.
    const PIPES: usize = 2 * 18;
    raise_descriptors();
    let dir = Dir::new();
    let options = ["--route", "splice", "--metrics", "127.0.0.1:0"];
    let mut fan_out = FanOut::to_each_kind(&dir, "/dev/zero", &options);
    let mut metrics = fan_out.metrics();
    let path = dir.path("subscribers");
    // Some subscribers leave with everything read, and others are reset because of unread bytes.
    let once = |reads: bool| {
        let mut stream = UnixStream::connect(&path).unwrap();
        let mut some = [0; 5000];
        if reads {
            stream.read_exact(&mut some).unwrap();
        }
    };
    let before = fan_out.running.pipes_and_others();
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..SUBSCRIBERS / THREADS).for_each(|turn| once(turn % 2 == 0)));
        }
    });
    metrics.await_more_than(ACCEPTED, SUBSCRIBERS as u64 - 1);
    // The last of them may still be closing.
    while metrics.sample(OPEN) > 0 {
        std::thread::yield_now();
    }
    let after = fan_out.running.pipes_and_others();
    let bounds = (before.0 + PIPES, before.1 + THREADS);
    assert!(
        after.0 <= bounds.0 && after.1 <= bounds.1,
        "(pipes, others): {before:?}, and then {after:?}"
    );
    assert_eq!(fan_out.stop().code, 3);
}

/// Raises the limit, which all tests of this program share.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let raised = Rlimit {
        current: maximum,
        maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
}
