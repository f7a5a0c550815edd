//! `fan-out` of a stream: every subscriber gets every byte, whatever the source is. Receipts and
//! metrics say by which route.

use std::fs::File;
use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::support::{
    Dir, FanOut, MIB, Receipts, Stream, assert_same, by, bytes, lines, needs, number, reading,
};

const JSON: [&str; 2] = ["--receipt", "json"];

/// Programs that produce a stream, and the calls by which they write it.
const PRODUCERS: [(&str, &str); 5] = [
    ("cat", "-"),
    ("nc.openbsd", "tcp"),
    ("underpass", "tcp"),
    ("socat", "unix"),
    ("underpass", "unix"),
];

/// Makes `program` send the file at `path` to `address`.
fn produce(program: &str, path: &str, address: &str) -> Child {
    let host = address.strip_prefix("tcp://");
    let to = host.map_or_else(
        || address.replace("unix:", "UNIX-CONNECT:"),
        |host| format!("TCP:{host}"),
    );
    let from = format!("OPEN:{path}");
    let port = address.rsplit(':').next().unwrap();
    let (program, args) = match program {
        "underpass" => (
            env!("CARGO_BIN_EXE_underpass"),
            vec!["send", "--quiet", path, address],
        ),
        "socat" => (program, vec!["-u", &from, &to]),
        "cat" => (program, vec![path]),
        _ => (program, vec!["-N", "127.0.0.1", port]),
    };
    let mut command = Command::new(program);
    command
        .args(args)
        .stdin(File::open(path).unwrap())
        .stdout(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn every_byte_from_every_kind_of_producer_to_1_4_and_16_subscribers() {
    if !["nc.openbsd", "socat"].into_iter().all(needs::tool) {
        return;
    }
    let dir = Dir::new();
    let content = bytes(600, 4 * MIB + 13);
    let path = dir.file("content", &content);
    let unix = format!("unix:{}", dir.path("producer"));
    let mut spliced = 0;
    for (program, kind) in PRODUCERS {
        for count in ["1", "4", "16"] {
            let options = [&JSON[..], &["--await", count]].concat();
            let count = count.parse().unwrap();
            let (fan_out, mut producer) = if kind == "-" {
                let mut producer = produce(program, &path, "");
                let fan_out = FanOut::piped_from(&mut producer, &dir, &options);
                (fan_out, producer)
            } else {
                let at = if kind == "tcp" {
                    "tcp://127.0.0.1:0"
                } else {
                    &unix
                };
                let fan_out = FanOut::to_each_kind(&dir, at, &options);
                let producer = produce(program, &path, fan_out.producer());
                (fan_out, producer)
            };
            let all = fan_out.connect_mixed(count).into_iter().map(reading);
            for one in all.collect::<Vec<_>>() {
                let (got, ended) = one.join().unwrap();
                assert!(got == content && ended.is_ok(), "{program}: {ended:?}");
            }
            assert!(producer.wait().unwrap().success(), "{program}");
            let receipts = Receipts::of(&fan_out.running.finish().ok());
            spliced += u32::from(assert_each_was_given_all(&receipts, count, content.len()));
        }
    }
    assert!(spliced > 0, "no stream was spliced");
    assert_eq!(dir.names(), ["content"], "the sockets' paths are removed");
}

/// Every subscriber was given `length` bytes, by the routes by which they were read. Returns
/// whether most of them were spliced: a producer that gets little time writes less than a bulk
/// read in a row, and its stream is rightly copied.
#[track_caller]
fn assert_each_was_given_all(receipts: &Receipts, count: usize, length: usize) -> bool {
    let (source, length) = (&receipts.source, length as u64);
    assert_eq!(source["ended"], "ended", "{source}");
    assert_eq!(number(source, "bytes"), length, "{source}");
    assert_eq!(receipts.subscribers.len(), count);
    for receipt in &receipts.subscribers {
        assert_eq!(receipt["ended"], "closed", "{receipt}");
        assert_eq!(
            (number(receipt, "from"), number(receipt, "bytes")),
            (0, length)
        );
        assert_eq!(number(receipt, "undelivered"), 0, "{receipt}");
    }
    if !receipts.had_pipes() {
        return true;
    }
    for receipt in &receipts.subscribers {
        // Bytes are sent on by the route by which they were read.
        assert_eq!(by(receipt, "splice"), by(source, "splice"), "{receipt}");
        // Bytes written from memory are copied once; spliced bytes are not copied.
        let copied = number(&receipt["copies"], "cpu_bytes");
        assert_eq!(copied, by(receipt, "read-write"), "{receipt}");
    }
    let copied = number(&source["copies"], "cpu_bytes");
    assert_eq!(copied, by(source, "read-write"), "{source}");
    receipts.assert_tees();
    by(source, "splice") > length / 2
}

#[test]
fn nc_socat_and_curl_subscribe_and_a_file_of_theirs_is_the_stream() {
    if !["nc.openbsd", "socat", "curl"].into_iter().all(needs::tool) {
        return;
    }
    let dir = Dir::new();
    let path = dir.file("content", &bytes(601, 5 * MIB + 1));
    let fan_out = FanOut::to_each_kind(&dir, &path, &JSON);
    let (port, unix) = (fan_out.port(), dir.path("subscribers"));
    let stream = FanOut::from("tcp://127.0.0.1:0", &["--await", "4"]);
    let (its_port, produced) = (stream.port(), stream.producer());
    let mut programs = Vec::new();
    for (number, (program, args)) in [
        ("nc.openbsd", vec!["-d", "127.0.0.1", its_port]),
        (
            "socat",
            vec!["-u", &format!("TCP:127.0.0.1:{its_port}"), "-"],
        ),
        // Its request is discarded, and the response has no head.
        (
            "curl",
            vec!["-s", "--http0.9", &format!("http://127.0.0.1:{its_port}/")],
        ),
        ("nc.openbsd", vec!["-d", "-U", &unix]),
        ("socat", vec!["-u", &format!("UNIX-CONNECT:{unix}"), "-"]),
        (
            "curl",
            vec!["-s", "--http0.9", &format!("http://127.0.0.1:{port}/")],
        ),
        ("nc.openbsd", vec!["-d", "127.0.0.1", its_port]),
    ]
    .into_iter()
    .enumerate()
    {
        let got = dir.path(&format!("got-{number}"));
        let mut command = Command::new(program);
        command
            .args(args)
            .stdin(Stdio::null())
            .stdout(File::create(&got).unwrap());
        programs.push((command.spawn().unwrap(), got));
    }
    assert!(
        produce("underpass", &path, produced)
            .wait()
            .unwrap()
            .success()
    );
    for (mut program, got) in programs {
        assert!(program.wait().unwrap().success(), "{got}");
        assert_same(&path, &got);
    }
    stream.running.finish().ok();
    assert_eq!(lines(&fan_out.stop().ok()).len(), 3);
}

const TAKEN: &str = "underpass_fan_out_taken_bytes_total";
const GIVEN: &str = "underpass_fan_out_given_bytes_total";

fn of_route(name: &str, route: &str) -> String {
    format!("{name}{{route=\"{route}\"}}")
}

#[test]
fn what_trickles_is_copied_and_bulk_is_spliced_and_both_are_counted_while_they_pass() {
    let options = [&JSON[..], &["--metrics", "127.0.0.1:0", "--await", "2"]].concat();
    let (mut fan_out, mut producer) = FanOut::produced(&options);
    let mut metrics = fan_out.metrics();
    let mut all = [fan_out.connect(), fan_out.connect()];
    for number in 0..50 {
        let piece = [number; 100];
        producer.write_all(&piece).unwrap();
        for subscriber in &mut all {
            assert_eq!(subscriber.read_exactly(100), piece);
        }
    }
    for (name, bytes) in [(TAKEN, 5000), (GIVEN, 10_000)] {
        // Bytes are counted a moment after they have arrived.
        metrics.await_more_than(&of_route(name, "read-write"), bytes - 1);
        assert_eq!(metrics.sample(&of_route(name, "read-write")), bytes);
        assert_eq!(metrics.sample(&of_route(name, "splice")), 0);
    }
    assert_eq!(metrics.sample("underpass_fan_out_connections_open"), 2);

    let bulk = bytes(602, 8 * MIB);
    let reading: Vec<_> = all.into_iter().map(reading).collect();
    producer.write_all(&bulk).unwrap();
    producer.end();
    for one in reading {
        let (got, ended) = one.join().unwrap();
        assert!(got == bulk && ended.is_ok(), "{ended:?}");
    }
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    let source = &receipts.source;
    assert_eq!(number(source, "promotions"), 1, "{source}");
    assert!(by(source, "splice") > 7 * MIB as u64, "{source}");
    receipts.assert_tees();
    assert!(receipts.tees() > 0);
}

#[test]
fn a_stream_that_is_bulk_no_more_is_demoted() {
    let (fan_out, mut producer) = FanOut::produced(&JSON);
    let mut subscriber = fan_out.connect();
    let sending = std::thread::spawn(move || {
        producer.write_all(&bytes(603, 4 * MIB)).unwrap();
        producer
    });
    subscriber.read_exactly(4 * MIB);
    let mut producer = sending.join().unwrap();
    for _ in 0..20 {
        producer.write_all(b"small").unwrap();
        assert_eq!(subscriber.read_exactly(5), b"small");
    }
    producer.end();
    assert_eq!(subscriber.read_all(), b"");
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    assert_eq!(number(&receipts.source, "demotions"), 1, "{receipts:?}");
    assert_eq!(receipts.tees(), 0, "the only subscriber needs none");
}

#[test]
fn a_route_that_is_asked_for_is_kept() {
    for route in ["splice", "read-write"] {
        let options = [&JSON[..], &["--route", route, "--await", "3"]].concat();
        let (fan_out, mut producer) = FanOut::produced(&options);
        let all: Vec<_> = (0..3).map(|_| reading(fan_out.connect())).collect();
        let content = bytes(604, 3 * MIB);
        producer.write_all(&content[..5]).unwrap();
        producer.write_all(&content[5..]).unwrap();
        drop(producer);
        for one in all {
            assert!(one.join().unwrap().0 == content);
        }
        let receipts = Receipts::of(&fan_out.running.finish().ok());
        for receipt in receipts.subscribers.iter().chain([&receipts.source]) {
            assert_eq!(by(receipt, route), 3 * MIB as u64, "{receipt}");
        }
        receipts.assert_tees();
    }
}

/// Sends in pieces, for as long as they are accepted.
fn sending(mut producer: Stream, content: Vec<u8>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for piece in content.chunks(100_003) {
            producer.write_all(piece).unwrap();
        }
        producer.end();
    })
}

#[test]
fn who_joins_while_it_runs_gets_what_comes_from_then_on() {
    // Far more than the buffers on the way hold, so that the stream lasts until the last subscriber
    // has connected.
    const LENGTH: usize = 32 * MIB;
    let options = [&JSON[..], &["--metrics", "127.0.0.1:0", "--lag", "1MiB"]].concat();
    let (mut fan_out, producer) = FanOut::produced(&options);
    let mut metrics = fan_out.metrics();
    let content = bytes(605, LENGTH);
    let mut first = fan_out.connect();
    let sending = sending(producer, content.clone());
    let (mut got, mut others) = (Vec::new(), Vec::new());
    for come in 1..=6 {
        got.extend(first.read_exactly(MIB + come * 7919));
        let later = fan_out.connect();
        metrics.await_more_than("underpass_fan_out_connections_open", come as u64);
        others.push((later.name(), reading(later)));
    }
    got.extend(first.read_all());
    assert!(got == content, "the first");
    sending.join().unwrap();
    let others: Vec<_> = others
        .into_iter()
        .map(|(name, one)| (name, one.join().unwrap()))
        .collect();
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    for (name, (got, ended)) in others {
        let receipt = receipts.of_name(&name);
        let from = number(receipt, "from");
        assert!(from > 0, "{receipt}");
        assert!(got.len() > LENGTH / 2 && ended.is_ok(), "{receipt}");
        assert!(got == content[from as usize..], "{receipt}");
    }
}

#[test]
fn who_leaves_while_it_runs_is_told_of_and_the_others_get_all() {
    const LENGTH: usize = 24 * MIB;
    let options = [&JSON[..], &["--await", "4", "--lag", "1MiB", "--verbose"]].concat();
    let (mut fan_out, producer) = FanOut::produced(&options);
    let content = bytes(606, LENGTH);
    let mut leaving = fan_out.connect();
    let name = leaving.name();
    let staying: Vec<_> = (0..3).map(|_| reading(fan_out.connect())).collect();
    let sending = sending(producer, content.clone());
    assert!(leaving.read_exactly(2 * MIB) == content[..2 * MIB]);
    drop(leaving);
    let line = fan_out.running.line();
    assert!(
        line.contains(&format!("{name}: went away after ")),
        "{line}"
    );
    for one in staying {
        let (got, ended) = one.join().unwrap();
        assert!(got == content && ended.is_ok(), "{ended:?}");
    }
    sending.join().unwrap();
    let outcome = fan_out.running.finish();
    let outcome = outcome.fails(3, &["1 of 4 subscribers did not get everything"]);
    let receipts = Receipts::of(&outcome);
    let gone = receipts.of_name(&name);
    assert_eq!(gone["ended"], "gone", "{gone}");
    assert_eq!(gone["complete"], false, "{gone}");
    assert!((2 * MIB as u64..LENGTH as u64).contains(&number(gone, "bytes")));
}
