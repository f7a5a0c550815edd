//! What was measured: the account that the table, the JSON and the page are made from.
//!
//! Sizes are bytes, times seconds, rates GB/s (10⁹ bytes). Every count says how it is known.

use serde::{Deserialize, Serialize};

mod count;
mod machine;
mod row;
mod stream;
mod summary;

pub use count::{Count, Evidence};
pub use machine::Machine;
pub use row::{Copies, Hop, HopKind, Mover, Row, Sample, Sampled, SampledFunction};
pub use stream::StreamRow;
pub use summary::{Ratios, Summary};

/// The form of the JSON; it changes when a field changes its meaning.
pub const FORM: &str = "underpass-measure/1";

/// One run of `underpass measure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// [`FORM`].
    pub form: String,
    /// The version of underpass.
    pub version: String,
    /// When it began: `2026-11-24T12:00:00Z`.
    pub began: String,
    /// Where.
    pub machine: Machine,
    /// How.
    pub method: Method,
    /// The ways to count, those that were used and those that could not be.
    pub probes: Vec<Probe>,
    /// The interfaces, those that were used and those that could not be.
    pub interfaces: Vec<Interface>,
    /// One row a way and interface: what moving [`Method::unit_bytes`] takes, counted over
    /// [`Method::counted_bytes`].
    pub per_unit: Vec<Row>,
    /// One row a way, interface and size: time, CPU, and what was counted.
    pub by_size: Vec<Row>,
    /// One row a stream, number of consumers and way: what passing it on took, over loopback.
    #[serde(default)]
    pub streams: Vec<StreamRow>,
    /// What a reader must know before believing the numbers, a line each.
    pub warnings: Vec<String>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Method {
    /// Rounds that were timed; in each, every way ran once at every size.
    pub rounds: u32,
    /// Bytes that every way but `underpass` asks for in one call: the buffer of the classic loop.
    pub unit_bytes: u64,
    /// Bytes that the exact counts were taken over.
    pub counted_bytes: u64,
    /// A size is sent as often as it takes to move about this much in one sample, and at most 1000
    /// times.
    pub sample_bytes: u64,
}

/// A way to count.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Probe {
    /// `usage`, `tracepoints`, `kprobes` or `sampling`.
    pub name: String,
    /// What it counts.
    pub counts: String,
    /// Whether it was used.
    pub used: bool,
    /// Why not, and what would make it work; or what it could not place.
    pub note: Option<String>,
}

/// An interface that the bytes left by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interface {
    /// `loopback`, `veth` or `veth-no-gather`: what rows refer to.
    pub name: String,
    /// Whether the interface said that it gathers.
    pub gathers: Option<bool>,
    /// Why it was not used, and what would make it work; `None` if it was.
    pub missing: Option<String>,
}

impl Report {
    /// The row of `way` on `interface` in [`per_unit`](Self::per_unit).
    pub fn unit(&self, way: &str, interface: &str) -> Option<&Row> {
        self.per_unit
            .iter()
            .find(|row| row.way == way && row.interface == interface)
    }

    /// The row of `way` for `stream` to so many `consumers`.
    pub fn stream(&self, stream: &str, way: &str, consumers: u32) -> Option<&StreamRow> {
        self.streams
            .iter()
            .find(|row| row.stream == stream && row.way == way && row.consumers == consumers)
    }

    /// The names of the interfaces that were used, in order.
    pub fn used_interfaces(&self) -> impl Iterator<Item = &str> {
        self.interfaces
            .iter()
            .filter(|interface| interface.missing.is_none())
            .map(|interface| interface.name.as_str())
    }
}
