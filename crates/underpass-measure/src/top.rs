//! Which programs of this machine move bytes, by which calls, and how often the CPU copies them.
//!
//! A [`Watcher`] watches programs that are not ours. Each [`next`](Watcher::next) tells what they
//! did since the last one, as an [`Activity`]. A test suite can do the same, and assert that a
//! program copies nothing.

mod activity;
mod bpf;
mod counted;
mod decode;
mod expected;
mod hops;
mod procfs;
mod report;
mod sampling;
mod scope;
mod settings;
mod summed;
mod verdict;
mod watcher;

pub use activity::{
    Activity, CallActivity, CallFamily, CopyHop, End, HopCopies, Overhead, ProcessActivity, Source,
};
pub use report::{ProcessReport, TOP_FORM, TopReport};
pub use settings::TopSettings;
pub use verdict::{Remedy, Verdict, VerdictKind, verdict};
pub use watcher::{Watcher, own_pid};
