//! The cost of passing a stream on.

use serde::{Deserialize, Serialize};

use super::{Count, Ratios, Sample, Summary};

/// What it cost to pass a stream from one socket to others, over loopback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamRow {
    /// `relay` or `fan-out`.
    pub stream: String,
    /// `read-write`, or `splice`, which is what `underpass` does with bulk.
    pub way: String,
    /// Number of consumers.
    pub consumers: u32,
    /// Bytes of the stream in one sample; each consumer gets all of them.
    pub bytes: u64,
    /// System calls per [`unit_bytes`](super::Method::unit_bytes) delivered, including waits.
    pub syscalls: Count,
    /// Copies by the CPU per byte of the stream, from the source socket to all the others.
    pub cpu_copies: Count,
    /// The timed rounds, in order. Empty if it was only counted.
    pub samples: Vec<Sample>,
    /// Throughput over the rounds, of the bytes delivered to all consumers together.
    pub gb_per_s: Option<Summary>,
    /// CPU seconds of the thread that passes the stream on, per 10⁹ bytes delivered.
    pub cpu_s_per_gb: Option<Summary>,
    /// Ratios to `read-write` of the same round and number of consumers.
    pub to_read_write: Option<Ratios>,
}

impl StreamRow {
    /// Bytes that all consumers together got in one sample.
    pub fn delivered_bytes(&self) -> u64 {
        self.bytes * u64::from(self.consumers)
    }
}
