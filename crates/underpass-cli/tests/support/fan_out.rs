//! A running `underpass fan-out`, its subscribers, and what it says about them.

use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use serde_json::Value;

use super::{Dir, MORE_THAN_BUFFERS, Metrics, Outcome, Running, Stream, by, needs, underpass};

pub(crate) struct FanOut {
    pub(crate) running: Running,
    /// The line that says what is sent and to which addresses.
    pub(crate) line: String,
    /// The addresses at which it listens, as [`Stream::connect`] takes them.
    pub(crate) addresses: Vec<String>,
}

impl FanOut {
    /// Starts one that sends from `source` to everyone who connects to a free port.
    pub(crate) fn from(source: &str, options: &[&str]) -> Self {
        Self::of(Running::start(command(source, options)))
    }

    /// Starts one with subscribers by TCP and at a Unix socket in `dir`.
    pub(crate) fn to_each_kind(dir: &Dir, source: &str, options: &[&str]) -> Self {
        Self::of(Running::start(to_each_kind(dir, source, options)))
    }

    /// The same, from the standard output of another program.
    pub(crate) fn piped_from(program: &mut Child, dir: &Dir, options: &[&str]) -> Self {
        let mut command = to_each_kind(dir, "-", options);
        command.stdin(program.stdout.take().unwrap());
        Self::of(Running::start(command))
    }

    /// Starts one that reads standard input, which the test writes.
    pub(crate) fn piped(options: &[&str]) -> (Self, ChildStdin) {
        let mut command = command("-", options);
        command.stdin(Stdio::piped());
        let mut running = Running::start(command);
        let stdin = running.stdin();
        (Self::of(running), stdin)
    }

    /// Starts one whose producer connects to a free port; the test is the producer.
    pub(crate) fn produced(options: &[&str]) -> (Self, Stream) {
        let fan_out = Self::from("tcp://127.0.0.1:0", options);
        let producer = Stream::connect(fan_out.producer());
        (fan_out, producer)
    }

    /// Wraps any program that becomes a fan-out.
    pub(crate) fn of(mut running: Running) -> Self {
        let line = running.line();
        let said = line.strip_prefix("underpass: giving ");
        let said = said.unwrap_or_else(|| panic!("not the line of a fan-out: {line:?}"));
        let (_, places) = said.rsplit_once(" to everyone at ").unwrap();
        let (places, _) = places.rsplit_once(" (").unwrap();
        let places = places.split(", ").flat_map(|place| place.split(" and "));
        let addresses = places.map(|place| {
            if place.starts_with("unix:") || place.starts_with("tls://") {
                place.to_owned()
            } else {
                format!("tcp://{place}")
            }
        });
        Self {
            running,
            addresses: addresses.collect(),
            line,
        }
    }

    /// The address at which it waits for a producer.
    pub(crate) fn producer(&self) -> &str {
        let at = self.line.split(" a producer at ").nth(1).unwrap();
        at.split(' ').next().unwrap()
    }

    pub(crate) fn connect(&self) -> Stream {
        Stream::connect(&self.addresses[0])
    }

    /// Connects to each address in turn.
    pub(crate) fn connect_mixed(&self, count: usize) -> Vec<Stream> {
        let addresses = self.addresses.iter().cycle();
        addresses
            .take(count)
            .map(|it| Stream::connect(it))
            .collect()
    }

    /// The port of its first address.
    pub(crate) fn port(&self) -> &str {
        self.addresses[0].rsplit(':').next().unwrap()
    }

    /// Its metrics, if they were asked for.
    pub(crate) fn metrics(&mut self) -> Metrics {
        Metrics::of(&self.running.line())
    }

    /// Waits until it stops reading from a source that always has more, before it has read `most`
    /// bytes. Returns how many it read. Needs `--threads 1`.
    #[track_caller]
    pub(crate) fn await_standstill(&self, metrics: &mut Metrics, most: u64) -> u64 {
        // A fan-out that did not stop would read more meanwhile: it would not wait for anything.
        let (mut last, mut same) = (0, 0);
        while same < STILL || last == 0 {
            let now = taken(metrics);
            assert!(now < most, "{now} bytes were taken");
            let stands = now == last && self.running.sleeps();
            same = if stands { same + 1 } else { 0 };
            last = now;
        }
        last
    }

    /// Writes until nobody takes any of it, and returns how much was written. Needs `--threads 1`.
    #[track_caller]
    pub(crate) fn fill(&self, producer: &mut Stream) -> usize {
        let (mut sent, mut same) = (0, 0);
        while same < STILL {
            self.running.await_sleep();
            let count = producer.fill();
            same = if count == 0 { same + 1 } else { 0 };
            sent += count;
            assert!(sent < MORE_THAN_BUFFERS, "it takes all there is");
        }
        sent
    }

    /// Asks it to end, and waits until it has ended.
    pub(crate) fn stop(self) -> Outcome {
        self.running.signal(Signal::TERM);
        self.running.finish()
    }
}

/// How often it has to be found unchanged and asleep, before it counts as stopped.
const STILL: u32 = 20;

/// The command, with a free port.
fn command(source: &str, options: &[&str]) -> Command {
    let args = ["fan-out", "--listen", "127.0.0.1:0", "--from", source];
    underpass(&[&args, options].concat())
}

fn to_each_kind(dir: &Dir, source: &str, options: &[&str]) -> Command {
    let unix = format!("unix:{}", dir.path("subscribers"));
    command(source, &[&["--listen", &unix], options].concat())
}

/// Bytes read from the source of a stream.
pub(crate) fn taken(metrics: &mut Metrics) -> u64 {
    let of = |route| format!("underpass_fan_out_taken_bytes_total{{route=\"{route}\"}}");
    metrics.sample(&of("splice")) + metrics.sample(&of("read-write"))
}

/// Reads to the end on a thread of its own; an error at the end means a reset.
pub(crate) fn reading(mut stream: Stream) -> JoinHandle<(Vec<u8>, std::io::Result<usize>)> {
    thread::spawn(move || {
        let mut content = Vec::new();
        let ended = std::io::Read::read_to_end(&mut stream, &mut content);
        (content, ended)
    })
}

/// The receipts of a stream.
#[derive(Debug)]
pub(crate) struct Receipts {
    pub(crate) subscribers: Vec<Value>,
    pub(crate) source: Value,
}

impl Receipts {
    /// Parses the receipts, and checks that each adds up and that they agree.
    #[track_caller]
    pub(crate) fn of(outcome: &Outcome) -> Self {
        let mut subscribers = lines(outcome);
        let source = subscribers.pop().unwrap();
        assert!(source["source"].is_object(), "the source's is the last");
        let receipts = Self {
            subscribers,
            source,
        };
        receipts.assert_sound();
        receipts
    }

    fn assert_sound(&self) {
        let (mut delivered, mut copied) = (0, 0);
        for receipt in self.subscribers.iter().chain([&self.source]) {
            let moved = by(receipt, "splice") + by(receipt, "read-write");
            assert_eq!(number(receipt, "bytes"), moved, "{receipt}");
        }
        for receipt in &self.subscribers {
            delivered += number(receipt, "bytes");
            copied += by(receipt, "read-write");
            let place = number(receipt, "from") + number(receipt, "bytes");
            let taken = number(&self.source, "bytes");
            assert!(place + number(receipt, "undelivered") <= taken, "{self:?}");
            if receipt["complete"] == true {
                assert_eq!(place, taken, "complete, and not to the end: {self:?}");
            }
        }
        let source = &self.source;
        assert_eq!(number(source, "delivered"), delivered, "{source}");
        assert_eq!(number(source, "delivered_copied"), copied, "{source}");
        let count = self.subscribers.len() as u64;
        assert_eq!(number(source, "subscribers"), count, "{source}");
    }

    /// Checks the calls of tee(2), for spliced segments of a stream that all subscribers got
    /// completely: all but the last subscriber took each segment by tee(2).
    #[track_caller]
    pub(crate) fn assert_tees(&self) {
        if !self.had_pipes() {
            return;
        }
        let tees: u64 = self.tees();
        let others = self.subscribers.len() as u64 - 1;
        let calls = self.source["routes"].as_array().unwrap();
        let calls = calls.iter().find(|used| used["route"] == "splice");
        let most = calls.map_or(0, |used| number(used, "syscalls")) * others;
        // A segment has at most 1 MiB.
        let least = by(&self.source, "splice").div_ceil(1 << 20) * others;
        assert!((least..=most).contains(&tees), "{tees} tees: {self:?}");
        assert!(
            others == 0 || tees.is_multiple_of(others),
            "{tees} tees: {self:?}"
        );
    }

    /// Whether every wanted pipe could be had. Root has no limit; the tests of any other user share
    /// one.
    pub(crate) fn had_pipes(&self) -> bool {
        let all = self.subscribers.iter().chain([&self.source]);
        let mut refused = all.filter_map(|it| it["pipes_refused"].as_u64());
        refused.all(|count| count == 0)
            || needs::lacking("the user's pipes may not have more pages (pipe-user-pages-soft)")
    }

    pub(crate) fn tees(&self) -> u64 {
        let tees = self.subscribers.iter().map(|it| number(it, "tees"));
        tees.sum()
    }

    /// The receipt of the subscriber at the other end of `stream`, over TCP.
    #[track_caller]
    pub(crate) fn of_name(&self, name: &str) -> &Value {
        let mut found = self.subscribers.iter();
        let found = found.find(|it| it["subscriber"]["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

/// The receipts on standard output, one per line.
#[track_caller]
pub(crate) fn lines(outcome: &Outcome) -> Vec<Value> {
    let lines = outcome.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[track_caller]
pub(crate) fn number(receipt: &Value, name: &str) -> u64 {
    let number = receipt[name].as_u64();
    number.unwrap_or_else(|| panic!("no number {name}: {receipt}"))
}
