//! `fan-out`: before the first subscriber, without any subscriber, and how streams and files end.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use rustix::process::Signal;

use crate::support::{
    Dir, FanOut, MIB, MORE_THAN_BUFFERS, Receipt, Receipts, Stream, bytes, lines, number, reading,
    taken,
};

const OPEN: &str = "underpass_fan_out_connections_open";
const DISCARDED: &str = "underpass_fan_out_discarded_bytes_total";
const ONE_THREAD: [&str; 4] = ["--threads", "1", "--receipt", "json"];
const COUNTED: [&str; 2] = ["--metrics", "127.0.0.1:0"];

#[test]
fn without_subscribers_the_source_waits() {
    let (mut fan_out, mut producer) = FanOut::produced(&[&ONE_THREAD[..], &COUNTED].concat());
    let mut metrics = fan_out.metrics();
    let sent = fan_out.fill(&mut producer);
    assert_eq!(taken(&mut metrics), 0);
    producer.end();
    // The first subscriber gets everything, and the next one only the end.
    assert!(fan_out.connect().read_all() == vec![b'f'; sent]);
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    assert_eq!(number(&receipts.source, "discarded"), 0, "{receipts:?}");
}

#[test]
fn between_subscribers_the_source_waits_too() {
    let options = [&ONE_THREAD[..], &COUNTED, &["--lag", "1MiB"]].concat();
    let (mut fan_out, mut producer) = FanOut::produced(&options);
    let mut metrics = fan_out.metrics();
    let mut first = fan_out.connect();
    producer.write_all(b"for the first").unwrap();
    assert_eq!(first.read_exactly(13), b"for the first");
    first.reset();
    while metrics.sample(OPEN) > 0 {
        std::thread::yield_now();
    }
    producer.write_all(b"for the second").unwrap();
    producer.end();
    assert_eq!(fan_out.connect().read_all(), b"for the second");
    let outcome = fan_out.running.finish();
    let receipts = Receipts::of(&outcome.fails(3, &["1 of 2 subscribers did not get everything"]));
    assert_eq!(number(&receipts.subscribers[1], "from"), 13, "{receipts:?}");
}

#[test]
fn without_subscribers_what_comes_is_thrown_away_where_that_was_asked_for() {
    let options = [&ONE_THREAD[..], &COUNTED, &["--alone", "discard"]].concat();
    let (mut fan_out, mut producer) = FanOut::produced(&options);
    let mut metrics = fan_out.metrics();
    producer.write_all(&vec![0; MORE_THAN_BUFFERS]).unwrap();
    metrics.await_more_than(DISCARDED, MORE_THAN_BUFFERS as u64 - 1);
    let mut late = fan_out.connect();
    metrics.await_more_than(OPEN, 0);
    producer.write_all(b"late").unwrap();
    producer.end();
    assert_eq!(late.read_all(), b"late");
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    let source = &receipts.source;
    assert_eq!(
        number(source, "discarded"),
        MORE_THAN_BUFFERS as u64,
        "{source}"
    );
    assert_eq!(
        number(source, "bytes"),
        MORE_THAN_BUFFERS as u64 + 4,
        "{source}"
    );
    let from = number(&receipts.subscribers[0], "from");
    assert_eq!(from, MORE_THAN_BUFFERS as u64);
}

#[test]
fn nothing_is_taken_before_as_many_as_are_awaited_have_come() {
    for alone in ["wait", "discard"] {
        let awaiting = ["--await", "3", "--alone", alone];
        let options = [&ONE_THREAD[..], &COUNTED, &awaiting].concat();
        let (mut fan_out, mut producer) = FanOut::produced(&options);
        let mut metrics = fan_out.metrics();
        let mut all = vec![reading(fan_out.connect()), reading(fan_out.connect())];
        metrics.await_more_than(OPEN, 1);
        let sent = fan_out.fill(&mut producer);
        assert_eq!(taken(&mut metrics), 0, "{alone}");
        producer.end();
        all.push(reading(fan_out.connect()));
        for one in all {
            assert!(one.join().unwrap().0 == vec![b'f'; sent], "{alone}");
        }
        fan_out.running.finish().ok();
    }
}

#[test]
fn an_empty_stream_is_an_end_alone() {
    let (fan_out, stdin) = FanOut::piped(&["--await", "2", "--receipt", "json"]);
    drop(stdin);
    let all = [fan_out.connect(), fan_out.connect()];
    for mut one in all {
        assert_eq!(one.read_all(), b"");
    }
    let receipts = Receipts::of(&fan_out.running.finish().ok());
    assert_eq!(receipts.source["ended"], "ended", "{receipts:?}");
    assert_eq!(number(&receipts.source, "bytes"), 0);
    for receipt in &receipts.subscribers {
        assert_eq!(receipt["complete"], true, "{receipt}");
    }
}

#[test]
fn a_stream_has_one_producer() {
    let dir = Dir::new();
    let path = dir.path("producer");
    let unix = format!("unix:{path}");
    for source in ["tcp://127.0.0.1:0", &unix] {
        let fan_out = FanOut::from(source, &[]);
        let mut producer = Stream::connect(fan_out.producer());
        let mut subscriber = fan_out.connect();
        producer.write_all(b"x").unwrap();
        assert_eq!(subscriber.read_exactly(1), b"x");
        let refused = match fan_out.producer().strip_prefix("tcp://") {
            Some(host) => TcpStream::connect(host).unwrap_err().kind(),
            None => UnixStream::connect(&path).unwrap_err().kind(),
        };
        let wanted = [ErrorKind::ConnectionRefused, ErrorKind::NotFound];
        assert!(wanted.contains(&refused), "{source}: {refused}");
        drop(producer);
        assert_eq!(subscriber.read_all(), b"");
        fan_out.running.finish().ok();
    }
}

#[test]
fn who_is_told_that_an_address_is_in_use_leaves_nobody_there_a_connection() {
    let dir = Dir::new();
    let unix = format!("unix:{}", dir.path("producer"));
    let options = ["--receipt", "json", "--metrics", "127.0.0.1:0"];
    let mut fan_out = FanOut::to_each_kind(&dir, &unix, &options);
    let mut metrics = fan_out.metrics();
    for listen in ["127.0.0.1:0", fan_out.addresses[1].as_str()] {
        let args = ["fan-out", "--listen", listen, "--from", &unix];
        crate::support::run(&args).fails(1, &[&unix, "in use"]);
        let args = ["fan-out", "--listen", listen, "--from", "/dev/zero"];
        if listen == fan_out.addresses[1] {
            crate::support::run(&args).fails(1, &[listen, "in use"]);
        }
    }
    // The connection counts as a subscriber or as the producer.
    let mut producer = Stream::connect(&unix);
    let mut subscriber = fan_out.connect();
    producer.write_all(b"all of it").unwrap();
    producer.end();
    assert_eq!(subscriber.read_exactly(9), b"all of it");
    assert_eq!(
        metrics.sample("underpass_fan_out_connections_accepted_total"),
        1
    );
    assert_eq!(subscriber.read_all(), b"");
    fan_out.running.finish().ok();
}

#[test]
fn sigterm_in_a_stream_gives_what_was_taken_and_then_resets() {
    let options = [&ONE_THREAD[..], &COUNTED].concat();
    let (mut fan_out, mut producer) = FanOut::produced(&options);
    let mut metrics = fan_out.metrics();
    let mut subscriber = fan_out.connect();
    let sent = fan_out.fill(&mut producer);
    let backlog = taken(&mut metrics);
    fan_out.running.signal(Signal::TERM);
    let line = fan_out.running.line();
    let wanted = "stopping: waiting up to 30 s for connections (1)";
    assert!(line.contains(wanted), "{line}");
    let address = fan_out.addresses[0].trim_start_matches("tcp://");
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    let mut got = Vec::new();
    let error = subscriber.read_to_end(&mut got).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(got.len() as u64, backlog);
    assert!(got.len() < sent, "the producer had more");
    let outcome = fan_out.running.finish();
    let receipts = Receipts::of(&outcome.fails(3, &["stopped after", "before it ended"]));
    assert_eq!(receipts.source["ended"], "cut", "{receipts:?}");
    let receipt = &receipts.subscribers[0];
    assert_eq!(receipt["ended"], "source_died", "{receipt}");
    assert_eq!(number(receipt, "undelivered"), 0, "{receipt}");
}

#[test]
fn sigterm_before_there_was_a_producer_resets_who_waits_for_one() {
    let mut fan_out = FanOut::from("tcp://127.0.0.1:0", &["--metrics", "127.0.0.1:0"]);
    let mut metrics = fan_out.metrics();
    let mut subscriber = fan_out.connect();
    metrics.await_more_than(OPEN, 0);
    drop(metrics);
    fan_out
        .stop()
        .fails(3, &["stopped before there was a producer"]);
    let error = subscriber.drain().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn who_is_still_there_after_the_drain_is_cut_off() {
    let dir = Dir::new();
    let path = dir.file("content", &vec![0; MORE_THAN_BUFFERS]);
    for source in [path.as_str(), "/dev/zero"] {
        let options = ["--drain", "200ms", "--verbose"];
        let options = [&options[..], &ONE_THREAD, &COUNTED].concat();
        let mut fan_out = FanOut::from(source, &options);
        let mut metrics = fan_out.metrics();
        let mut stuck = fan_out.connect();
        stuck.read_exactly(1);
        if source != path {
            fan_out.await_standstill(&mut metrics, MORE_THAN_BUFFERS as u64);
        }
        let name = stuck.name();
        let outcome = fan_out.stop();
        assert_eq!(outcome.code, 3, "{outcome:?}");
        let end = if source == path {
            "and cut off after"
        } else {
            "before it ended"
        };
        assert!(outcome.stderr.contains(end), "{outcome:?}");
        assert!(outcome.stderr.contains(&format!("{name}: ")), "{outcome:?}");
        let error = stuck.drain().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{source}");
        let receipt = &lines(&outcome)[0];
        assert_eq!(receipt["complete"], false, "{receipt}");
        if source != path {
            assert_eq!(receipt["ended"], "cut", "{receipt}");
            assert!(number(receipt, "undelivered") > 0, "{receipt}");
        }
    }
}

#[test]
fn sigterm_lets_those_who_get_a_file_have_all_of_it() {
    let dir = Dir::new();
    let content = bytes(630, 24 * MIB);
    let mut fan_out = FanOut::from(&dir.file("content", &content), &["--receipt", "json"]);
    let mut subscriber = fan_out.connect();
    let mut got = subscriber.read_exactly(MIB);
    fan_out.running.signal(Signal::TERM);
    assert!(fan_out.running.line().contains("connections (1)"));
    got.extend(subscriber.read_all());
    assert!(got == content);
    let receipt = Receipt::read(fan_out.running.finish().ok().text());
    receipt.assert_route("sendfile", content.len());
}

/// A machine that lost its power sends no end.
#[test]
fn a_producer_that_says_nothing_is_asked_whether_it_is_there() {
    let (fan_out, mut producer) = FanOut::produced(&[]);
    let mut subscriber = fan_out.connect();
    producer.write_all(b"begun").unwrap();
    assert_eq!(subscriber.read_exactly(5), b"begun");
    let Stream::Tcp(own) = &producer else {
        panic!("not TCP");
    };
    let end = |address: std::net::SocketAddr| format!(":{:04X}", address.port());
    let (theirs, ours) = (
        end(own.peer_addr().unwrap()),
        end(own.local_addr().unwrap()),
    );
    // Local and remote address, state, queues, and the active timer: 2 is keep-alive
    // (proc_net_tcp.rst).
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let mut rows = table.lines().map(|line| line.split_whitespace().collect());
    let row: Vec<_> = rows
        .find(|row: &Vec<_>| row[1].ends_with(&theirs) && row[2].ends_with(&ours))
        .unwrap();
    assert!(row[5].starts_with("02:"), "{row:?}");
    producer.end();
    assert_eq!(subscriber.read_all(), b"");
    fan_out.running.finish().ok();
}
