//! What passing a stream on took.

use serde::{Deserialize, Serialize};

use super::{Count, Ratios, Sample, Summary};

/// What it took to pass a stream from one socket to others, over loopback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StreamRow {
    /// `relay` or `fan-out`.
    pub stream: String,
    /// `read-write`, or `splice`: what `underpass` does with bulk.
    pub way: String,
    /// How many get it.
    pub consumers: u32,
    /// Bytes of the stream, in one sample; each consumer gets them all.
    pub bytes: u64,
    /// System calls for each [`unit_bytes`](super::Method::unit_bytes) delivered, waits included.
    pub syscalls: Count,
    /// Copies by the CPU for each byte of the stream, from the one socket to the others.
    pub cpu_copies: Count,
    /// The timed rounds, in order; none where it was only counted.
    pub samples: Vec<Sample>,
    /// Bytes delivered to all consumers together, over the rounds.
    pub gb_per_s: Option<Summary>,
    /// CPU seconds of the thread that passes it on, for 10⁹ bytes delivered.
    pub cpu_s_per_gb: Option<Summary>,
    /// Against `read-write` of the same round and number of consumers.
    pub to_read_write: Option<Ratios>,
}

impl StreamRow {
    /// Bytes that all consumers got together in one sample.
    pub fn delivered_bytes(&self) -> u64 {
        self.bytes * u64::from(self.consumers)
    }
}
