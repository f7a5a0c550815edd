//! The ways to count, behind one trait.

use std::fmt;
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

pub(crate) use kprobes::functions;
pub(crate) use sampling::Tally;
pub(crate) use toolbox::{Toolbox, refusal};

/// The name of a probe, and what it counts.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) counts: &'static str,
}

/// Counts what the calling thread does between [`start`](Self::start) and [`stop`](Self::stop).
pub(crate) trait Probe {
    /// Starts to count.
    fn start(&mut self) -> io::Result<()>;

    /// Stops counting, after the last call.
    fn stop(&mut self) -> io::Result<()>;

    /// Adds what was counted to `counted`. Called once the last byte has arrived, so that work on
    /// behalf of the sender on other threads is done too.
    fn collect(&mut self, counted: &mut Counted) -> io::Result<()>;
}

/// Starts all probes. A probe counts the calls of those that are started after it and stopped
/// before it. So the last one, which counts calls, counts none of them.
pub(crate) fn start(probes: &mut [Box<dyn Probe>]) -> io::Result<()> {
    probes.iter_mut().try_for_each(|probe| probe.start())
}

/// Stops all probes, in the opposite order.
pub(crate) fn stop(probes: &mut [Box<dyn Probe>]) -> io::Result<()> {
    probes.iter_mut().rev().try_for_each(|probe| probe.stop())
}

/// What the probes counted. A field is empty if no probe covered it.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    pub(crate) syscalls: Option<u64>,
    pub(crate) user_faults: Option<u64>,
    pub(crate) sums: Vec<Sum>,
    pub(crate) sampled: Option<Tally>,
}

impl Counted {
    /// Whether no sum is missing because too many calls were missed.
    pub(crate) fn is_whole(&self) -> bool {
        self.sums.iter().all(|sum| sum.bytes.is_some())
    }

    /// The sum of `work`, if a probe covered it.
    pub(crate) fn sum(&self, work: Work) -> Option<&Sum> {
        self.sums.iter().find(|sum| sum.work == work)
    }
}

/// What the CPU does with bytes in the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Copies them, at this hop.
    Copy(HopKind),
    /// Encrypts them, for TLS.
    Encrypt,
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Copy(hop) => hop.fmt(f),
            Self::Encrypt => f.write_str("encryption by the kernel"),
        }
    }
}

/// On how many bytes the CPU did some work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) work: Work,
    /// `None` if too many calls were missed for a sum.
    pub(crate) bytes: Option<u64>,
    /// The functions in which they were counted.
    pub(crate) at: String,
}
