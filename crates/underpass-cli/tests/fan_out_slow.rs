//! `fan-out` of a stream, with subscribers that do not keep up: the source waits for them, or they
//! are disconnected and told so. No byte is lost silently, and never is more kept than was allowed.

use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use underpass::units::grouped;

use crate::support::{
    Dir, FanOut, MIB, MORE_THAN_BUFFERS, Receipts, Running, Stream, assert_bytes, bytes, number,
    reading, underpass,
};

/// The most memory of its own that the process has resident: the pools, and the lag if it is kept
/// in memory.
const RESIDENT: u64 = 32 << 20;

/// Reads for ever on a thread of its own, and counts the bytes.
fn counting(mut stream: impl Read + Send + 'static) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        let mut buffer = vec![0; MIB];
        while let Ok(got @ 1..) = stream.read(&mut buffer) {
            counted.fetch_add(got as u64, Ordering::Relaxed);
        }
    });
    count
}

#[test]
fn one_that_does_not_read_stops_the_source_and_nothing_piles_up() {
    const MORE: u64 = 256 << 20;
    for route in ["splice", "read-write"] {
        // Without waiting, it would send gigabytes in a second.
        let options = ["--route", route, "--threads", "1", "--await", "2"];
        let options = [&options[..], &["--metrics", "127.0.0.1:0"]].concat();
        let mut fan_out = FanOut::from("/dev/zero", &options);
        let mut metrics = fan_out.metrics();
        let (mut stuck, other) = (fan_out.connect(), counting(fan_out.connect()));
        let bound = MORE_THAN_BUFFERS as u64;
        let taken = fan_out.await_standstill(&mut metrics, bound);
        while other.load(Ordering::Relaxed) < taken {
            std::thread::yield_now();
        }
        let resident = fan_out.running.resident();
        println!(
            "{route}: {taken} bytes taken, {} KiB resident",
            resident >> 10
        );
        assert!(resident < RESIDENT, "{route}: {resident} bytes");

        // When the subscriber reads, both continue.
        let (mut buffer, mut got) = (vec![0; MIB], 0);
        while got < MORE {
            got += stuck.read(&mut buffer).unwrap() as u64;
        }
        assert!(fan_out.running.resident() < RESIDENT, "{route}");
        let again = fan_out.await_standstill(&mut metrics, MORE + bound);
        assert!(again >= MORE, "{route}: {again}");
        while other.load(Ordering::Relaxed) < again {
            std::thread::yield_now();
        }
        drop(stuck);
        fan_out
            .stop()
            .fails(3, &["/dev/zero: stopped after", "before it ended"]);
    }
}

const LAGGED: &str = "underpass_fan_out_subscribers_ended_total{how=\"lagged\"}";

#[test]
fn a_laggard_is_dropped_and_told_and_the_others_get_all() {
    const PIECE: usize = 256 << 10;
    let dir = Dir::new();
    let content = bytes(620, MORE_THAN_BUFFERS);
    // Far more than a piece: on a busy machine it may come in many segments, and one in a pipe
    // counts as at least 256 KiB.
    let options = [
        "--slow",
        "drop",
        "--lag",
        "8MiB",
        "--await",
        "4",
        "--verbose",
    ];
    let ways = ["--receipt", "json", "--metrics", "127.0.0.1:0"];
    let options = [&options[..], &ways].concat();
    let mut fan_out = FanOut::to_each_kind(&dir, "tcp://127.0.0.1:0", &options);
    let mut metrics = fan_out.metrics();
    let mut producer = Stream::connect(fan_out.producer());
    let mut laggards = fan_out.connect_mixed(2);
    let mut others = fan_out.connect_mixed(2);
    let mut pieces = content.chunks(PIECE);
    let mut sent = 0;
    // The subscribers that read have every piece before the next one is sent.
    let mut give = |producer: &mut Stream, piece: &[u8]| {
        producer.write_all(piece).unwrap();
        for one in &mut others {
            assert!(one.read_exactly(piece.len()) == piece, "from {sent}");
        }
        sent += piece.len();
    };
    while metrics.sample(LAGGED) < 2 {
        let piece = pieces.next().expect("far more than they can lag is sent");
        give(&mut producer, piece);
    }
    // The stream continues without them.
    for piece in pieces.by_ref().take(8) {
        give(&mut producer, piece);
    }
    producer.end();
    let told = [fan_out.running.line(), fan_out.running.line()];
    for mut one in others {
        assert_eq!(one.read_all(), b"", "no more, and an end");
    }
    let outcome = fan_out.running.finish();
    let outcome = outcome.fails(3, &["2 of 4 subscribers did not get everything"]);
    let receipts = Receipts::of(&outcome);
    assert_eq!(number(&receipts.source, "bytes"), sent as u64);
    for laggard in &mut laggards {
        let (is_tcp, name) = (matches!(laggard, Stream::Tcp(_)), laggard.name());
        let mut got = Vec::new();
        match laggard.read_to_end(&mut got) {
            Err(error) => assert!(is_tcp && error.kind() == ErrorKind::ConnectionReset),
            Ok(_) => assert!(!is_tcp, "the laggard takes a part for the whole"),
        }
        assert!(content.starts_with(&got), "other bytes");
        let lagged = |it: &&serde_json::Value| it["ended"] == "lagged";
        let all = receipts.subscribers.iter().filter(lagged);
        let mut its = all.filter(|it| it["subscriber"]["name"] == name.as_str());
        let receipt = its.next().unwrap();
        let (given, owed) = (number(receipt, "bytes"), number(receipt, "undelivered"));
        assert!(got.len() as u64 <= given, "{receipt}");
        assert!(is_tcp || got.len() as u64 == given, "{receipt}");
        assert!(owed >= PIECE as u64, "it was far behind: {receipt}");
        let (given, owed) = (grouped(given), grouped(owed));
        let begin = format!("{name}: too slow: reset after {given} bytes, ");
        let end = format!("with {owed} more not delivered");
        let is_told = |told: &String| told.contains(&begin) && told.ends_with(&end);
        assert!(told.iter().any(is_told), "{begin}…{end}: {told:?}");
    }
}

#[test]
fn one_that_takes_nothing_for_too_long_is_reset_and_the_others_go_on() {
    let options = ["--idle-timeout", "500ms", "--await", "3", "--verbose"];
    let options = [&options[..], &["--receipt", "json"]].concat();
    let (mut fan_out, mut producer) = FanOut::produced(&options);
    let (mut stuck, mut quiet) = (fan_out.connect(), fan_out.connect());
    let other = fan_out.connect();
    let (name, other) = (stuck.name(), reading(other));
    let content = bytes(621, MORE_THAN_BUFFERS);
    let sending = std::thread::spawn({
        let content = content.clone();
        move || {
            producer.write_all(&content).unwrap();
            producer
        }
    });
    assert!(quiet.read_exactly(content.len()) == content);
    let line = fan_out.running.line();
    let told = format!("{name}: took nothing within the idle timeout: reset after ");
    let (_, counts) = line.split_once(&told).expect(&line);
    let [sent, unacknowledged, more] = counts.split(", ").collect::<Vec<_>>()[..] else {
        panic!("{line}");
    };
    assert!(sent.ends_with(" bytes"), "{line}");
    assert!(
        unacknowledged.ends_with(" of them not acknowledged"),
        "{line}"
    );
    assert!(
        more.starts_with("with ") && more.ends_with(" more not delivered"),
        "{line}"
    );
    let error = stuck.drain().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // The time without data for them did not count.
    let mut producer = sending.join().unwrap();
    producer.write_all(b"more").unwrap();
    producer.end();
    assert_eq!(quiet.read_all(), b"more");
    let (got, ended) = other.join().unwrap();
    assert!(got == [&content[..], b"more"].concat() && ended.is_ok());
    let outcome = fan_out.running.finish();
    let outcome = outcome.fails(3, &["1 of 3 subscribers did not get everything"]);
    let receipts = Receipts::of(&outcome);
    let receipt = receipts.of_name(&name);
    assert_eq!(receipt["ended"], "timed_out", "{receipt}");
    assert!(number(receipt, "undelivered") > 0, "{receipt}");
    // The bytes in its socket were sent, and have not arrived.
    assert!(number(receipt, "unacknowledged") > 0, "{receipt}");
}

#[test]
fn a_lag_of_nothing_is_that_of_one_part() {
    for slow in ["wait", "drop"] {
        let options = ["--slow", slow, "--lag", "0", "--threads", "1"];
        let (fan_out, mut producer) = FanOut::produced(&[&options[..], &["--await", "2"]].concat());
        let mut all = [fan_out.connect(), fan_out.connect()];
        for piece in [&b"a few"[..], &b"bytes"[..]] {
            producer.write_all(piece).unwrap();
            for one in &mut all {
                assert_eq!(one.read_exactly(5), piece, "{slow}");
            }
        }
        producer.end();
        for mut one in all {
            assert_eq!(one.read_all(), b"", "{slow}");
        }
        fan_out.running.finish().ok();
    }
}

/// With TLS in this process, to subscribers that are `recv` with a pipe that nobody reads at first.
fn encrypting(source: &str, options: &[&str]) -> FanOut {
    let args = ["fan-out", "--listen=tls://127.0.0.1:0", "--no-ktls"];
    let args = [&args[..], &["--from", source], options].concat();
    FanOut::of(Running::start(underpass(&args)))
}

/// A subscriber with TLS that receives to its standard output.
fn subscribed(fan_out: &FanOut) -> Running {
    let address = &fan_out.addresses[0];
    let args = ["recv", "--connect", address, "-", "--quiet", "--no-ktls"];
    Running::start(underpass(&args))
}

#[test]
fn one_with_tls_that_does_not_read_stops_the_source_and_nothing_piles_up() {
    const MORE: u64 = 32 << 20;
    let options = ["--threads=1", "--await=2", "--metrics=127.0.0.1:0"];
    let mut fan_out = encrypting("/dev/zero", &options);
    let mut metrics = fan_out.metrics();
    let (mut stuck, mut other) = (subscribed(&fan_out), subscribed(&fan_out));
    let mut stuck_output = stuck.stdout();
    let other = counting(other.stdout());
    let bound = MORE_THAN_BUFFERS as u64;
    let taken = fan_out.await_standstill(&mut metrics, bound);
    // What the slow one has not taken is what the other one has at most.
    while other.load(Ordering::Relaxed) < taken {
        std::thread::yield_now();
    }
    let resident = fan_out.running.resident();
    println!("{taken} bytes taken, {} KiB resident", resident >> 10);
    assert!(resident < RESIDENT, "{resident} bytes");

    // When it reads, both go on.
    let (mut buffer, mut got) = (vec![0; MIB], 0);
    while got < MORE {
        got += stuck_output.read(&mut buffer).unwrap() as u64;
    }
    assert!(fan_out.running.resident() < RESIDENT);
    let again = fan_out.await_standstill(&mut metrics, MORE + bound);
    assert!(again >= MORE, "{again}");
    while other.load(Ordering::Relaxed) < again {
        std::thread::yield_now();
    }
    drop((stuck_output, stuck));
    fan_out
        .stop()
        .fails(3, &["/dev/zero: stopped after", "before it ended"]);
}

#[test]
fn one_with_tls_that_takes_nothing_for_too_long_is_cut_and_the_others_get_all() {
    let dir = Dir::in_memory();
    // The others must be busy with it for less than that, whatever else the machine does.
    let options = [
        "--idle-timeout=5s",
        "--await=3",
        "--verbose",
        "--receipt=json",
    ];
    let mut fan_out = encrypting("tcp://127.0.0.1:0", &options);
    let mut producer = Stream::connect(fan_out.producer());
    let mut stuck = subscribed(&fan_out);
    let stuck_output = stuck.stdout();
    let sinks = ["one", "two"].map(|name| dir.path(name));
    let others = sinks.each_ref().map(|sink| {
        let args = ["recv", "--connect", &fan_out.addresses[0], sink];
        Running::start(underpass(&args))
    });
    let content = bytes(622, MORE_THAN_BUFFERS);
    let sending = std::thread::spawn({
        let content = content.clone();
        move || {
            producer.write_all(&content).unwrap();
            producer.end();
            producer
        }
    });
    for (other, sink) in others.into_iter().zip(&sinks) {
        other.finish().ok();
        assert_bytes(&std::fs::read(sink).unwrap(), &content);
    }
    let line = fan_out.running.line();
    assert!(
        line.contains("took nothing within the idle timeout: reset after "),
        "{line}"
    );
    sending.join().unwrap();
    let outcome = fan_out.running.finish();
    let outcome = outcome.fails(3, &["1 of 3 subscribers did not get everything"]);
    let receipts = Receipts::of(&outcome);
    let mut cut = receipts
        .subscribers
        .iter()
        .filter(|it| it["ended"] == "timed_out");
    let receipt = cut.next().unwrap();
    assert_eq!(receipt["subscriber"]["tls"]["mode"], "user", "{receipt}");
    assert!(number(receipt, "undelivered") > 0, "{receipt}");
    // What the slow one has is the beginning, and it is told that there was more.
    let mut got = Vec::new();
    std::io::BufReader::new(stuck_output)
        .read_to_end(&mut got)
        .unwrap();
    assert!(content.starts_with(&got) && got.len() < content.len());
    let outcome = stuck.finish();
    assert_eq!(outcome.code, 3, "{outcome:?}");
}
