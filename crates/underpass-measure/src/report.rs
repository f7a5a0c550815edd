//! What was measured: the table, the JSON and the page are made from this.
//!
//! Sizes are in bytes, times in seconds, and rates in GB/s (10⁹ bytes). Every count says how it is
//! known.

use serde::{Deserialize, Serialize};

mod count;
mod crypto;
mod machine;
mod row;
mod stream;
mod summary;

pub use count::{Count, Evidence};
pub use crypto::{Crypto, CryptoPass};
pub use machine::Machine;
pub use row::{Copies, Hop, HopKind, Mover, Row, Sample, Sampled, SampledFunction};
pub use stream::StreamRow;
pub use summary::{Ratios, Summary};
pub use underpass::receipt::{CryptoPlace, CryptoWork};

/// The version of the JSON format. It changes when a field changes its meaning.
pub const FORM: &str = "underpass-measure/1";

/// One run of `underpass measure`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Report {
    /// The version of the format: [`FORM`].
    pub form: String,
    /// The version of underpass.
    pub version: String,
    /// When the run began: `2026-11-24T12:00:00Z`.
    pub began: String,
    /// The command that was run, with its options; `None` if no command made the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The machine.
    pub machine: Machine,
    /// How it was measured.
    pub method: Method,
    /// The ways to count: those that were used, and those that could not be.
    pub probes: Vec<Probe>,
    /// The network interfaces: those that were used, and those that could not be.
    pub interfaces: Vec<Interface>,
    /// The ways that were asked for and cannot be measured here.
    #[serde(default)]
    pub absent_ways: Vec<AbsentWay>,
    /// One row per way and interface: the cost of moving [`Method::unit_bytes`], counted over
    /// [`Method::counted_bytes`].
    pub per_unit: Vec<Row>,
    /// One row per way, interface and size: time, CPU time, and counts.
    pub by_size: Vec<Row>,
    /// One row per stream, number of consumers and way: the cost of passing the stream on, over
    /// loopback.
    #[serde(default)]
    pub streams: Vec<StreamRow>,
    /// What a reader must know to judge the numbers, one line each.
    pub warnings: Vec<String>,
}

/// How it was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Method {
    /// Number of timed rounds. In each, every way ran once at every size.
    pub rounds: u32,
    /// Bytes that every way asks for in one call, except those that the engine carries out
    /// (`underpass`, `tls-seal`, `tls-sendfile`): the buffer of the classic loop.
    pub unit_bytes: u64,
    /// Bytes over which the exact counts were taken.
    pub counted_bytes: u64,
    /// Bytes that one sample moves, approximately. A smaller file is sent several times, at most
    /// 1000 times.
    pub sample_bytes: u64,
    /// Version and cipher of the ways with TLS, such as `TLS 1.3 AES-128-GCM`; `None` if none was
    /// measured.
    #[serde(default)]
    pub tls: Option<String>,
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
    /// Why it was not used, and what would make it work; or which of its parts could not be placed.
    pub note: Option<String>,
}

/// A network interface that the bytes left by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Interface {
    /// `loopback`, `veth` or `veth-no-gather`. Rows refer to this name.
    pub name: String,
    /// Whether the interface said that it gathers.
    pub gathers: Option<bool>,
    /// Why it was not used, and what would make it work; `None` if it was.
    pub missing: Option<String>,
}

/// A way that cannot be measured here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct AbsentWay {
    /// The way's [name](crate::Way::name).
    pub way: String,
    /// Why it cannot be measured.
    pub missing: String,
}

impl Report {
    /// The row of `way` on `interface` in [`per_unit`](Self::per_unit).
    pub fn unit(&self, way: &str, interface: &str) -> Option<&Row> {
        self.per_unit
            .iter()
            .find(|row| row.way == way && row.interface == interface)
    }

    /// Why `way` cannot be measured here, if that was asked for.
    pub fn absent_way(&self, way: &str) -> Option<&str> {
        let absent = self.absent_ways.iter().find(|absent| absent.way == way)?;
        Some(&absent.missing)
    }

    /// The row of `way` for `stream`, with this number of `consumers`.
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
