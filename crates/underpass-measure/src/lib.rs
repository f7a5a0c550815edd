//! Counts, on the running kernel, what each way of moving a file to a socket costs: all copies and
//! those by the CPU, switches between user and kernel mode, time, and CPU time.
//!
//! A number is `measured` if a probe counted it, `reported` if the kernel said so about this very
//! transfer, and `expected` if it is only documented. A number from theory is always marked as
//! such.
//!
//! ```no_run
//! use underpass_measure::{MeasureSettings, Watch, measure};
//!
//! struct Silent;
//! impl Watch for Silent {
//!     fn progress(&mut self, _done: u64, _total: u64, _next: &str) {}
//! }
//!
//! let report = measure(&MeasureSettings::quick(), &mut Silent)?;
//! let copies = &report.unit("sendfile", "loopback").unwrap().copies.by_cpu;
//! println!("{:?} copies by the CPU ({:?}: {})", copies.value, copies.evidence, copies.why);
//! # Ok::<(), underpass_measure::Error>(())
//! ```
// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

mod btf;
mod claims;
mod crossing;
mod crypto;
mod error;
mod file;
mod hops;
mod network;
mod number;
pub mod page;
mod pin;
mod probe;
mod receiver;
pub mod report;
mod rows;
mod run;
mod sample;
mod schedule;
mod settings;
mod stream;
mod symbols;
mod sys;
mod text;
mod tls;
pub mod top;
mod tracefs;
mod warnings;
mod way;

pub use claims::{Claim, Verdict, claims};
pub use error::Error;
pub use network::Link;
pub use report::Report;
pub use run::{Watch, measure};
pub use settings::MeasureSettings;
pub use stream::Stream;
pub use text::text;
pub use way::Way;
