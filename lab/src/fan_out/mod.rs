//! One stream, or one file, to many subscribers. The contender runs on one processor, the producer
//! and all subscribers on the other.

pub(crate) mod bare;
pub(crate) mod file;
mod pattern;
mod producer;
mod readers;
mod running;
pub(crate) mod stream;

use crate::bench::Bench;
use crate::record::{Case, Metric, Sample, noise};

const RATE: &str = "GB/s";
const CPU_PER_GB: &str = "CPU s/GB";
const BUSY: &str = "busy %";
const ENDS_BUSY: &str = "ends busy %";

/// One run: everything that one process, with its children, delivered.
struct Delivered {
    /// Bytes that all subscribers together got.
    bytes: u64,
    /// Time from the producer's first byte, or the first subscriber's connection, to the last
    /// subscriber's end.
    seconds: f64,
    /// User and system time of the process and its children, from the moment when the first
    /// subscriber was connected.
    cpu_s: f64,
    /// CPU time of the producer's and the subscribers' threads.
    ends_cpu_s: f64,
}

impl Delivered {
    fn sample(&self) -> Sample {
        let (bytes, seconds) = (self.bytes as f64, self.seconds);
        Sample::of([
            (RATE, bytes / 1e9 / seconds),
            (CPU_PER_GB, self.cpu_s * 1e9 / bytes),
            (BUSY, self.cpu_s * 100.0 / seconds),
            (ENDS_BUSY, self.ends_cpu_s * 100.0 / seconds),
            ("bytes", bytes),
            ("seconds", seconds),
            ("CPU s", self.cpu_s),
            ("ends CPU s", self.ends_cpu_s),
        ])
    }
}

/// The bytes for each subscriber, so that all of them together get the scenario's size.
fn size_for_each(bench: &Bench, subscribers: usize) -> u64 {
    let all = bench.scenario.sizes.first().map_or(1 << 30, |size| size.0);
    all / subscribers as u64
}

fn metrics() -> Vec<Metric> {
    vec![
        Metric::more(RATE, 2),
        Metric::less(CPU_PER_GB, 3),
        Metric::told(BUSY, 0),
        Metric::told(ENDS_BUSY, 0),
    ]
}

/// Adds a warning if the bare loop's results varied too much.
fn told(mut case: Case) -> Case {
    case.remarks.extend(noise(&case.rows, CPU_PER_GB));
    case
}
