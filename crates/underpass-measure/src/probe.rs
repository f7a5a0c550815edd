//! The ways to count, each behind one trait.

use std::io;

use underpass::Usage;

use crate::report::HopKind;

mod kprobes;
mod sampling;
mod toolbox;
mod tracepoints;
mod usage;

use kprobes::Kprobes;
use sampling::Sampling;
use tracepoints::Tracepoints;
use usage::ThreadUsage;

pub(crate) use sampling::Tally;
pub(crate) use toolbox::Toolbox;

/// What a probe is called, and what it counts.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) counts: &'static str,
}

/// Counts what the calling thread does between [`start`](Self::start) and [`stop`](Self::stop).
pub(crate) trait Probe {
    /// Begins.
    fn start(&mut self) -> io::Result<()>;

    /// The last call was made.
    fn stop(&mut self) -> io::Result<()>;

    /// The last byte has arrived, so nothing is left to do for others either: adds what was
    /// counted.
    fn collect(&mut self, counted: &mut Counted) -> io::Result<()>;
}

/// Each sees those that start after it and stop before it: the last, which counts calls, sees none.
pub(crate) fn start(probes: &mut [Box<dyn Probe>]) -> io::Result<()> {
    probes.iter_mut().try_for_each(|probe| probe.start())
}

/// In the contrary order.
pub(crate) fn stop(probes: &mut [Box<dyn Probe>]) -> io::Result<()> {
    probes.iter_mut().rev().try_for_each(|probe| probe.stop())
}

/// What probes counted; a field is empty where no probe looked.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    pub(crate) syscalls: Option<u64>,
    pub(crate) user_faults: Option<u64>,
    pub(crate) copied: Vec<Copied>,
    pub(crate) sampled: Option<Tally>,
}

impl Counted {
    /// No hop had so many calls missed that it has no sum.
    pub(crate) fn is_whole(&self) -> bool {
        self.copied.iter().all(|copied| copied.bytes.is_some())
    }
}

/// Bytes that the CPU copied at one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) hop: HopKind,
    /// `None` where too many calls were missed for a sum.
    pub(crate) bytes: Option<u64>,
    /// Where they were counted.
    pub(crate) at: String,
}
