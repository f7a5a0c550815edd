//! The ways to count, each behind one trait.

use std::io;

use underpass::Usage;

use crate::report;
use crate::report::HopKind;

mod kprobes;
mod sampling;
mod tracepoints;
mod usage;

pub(crate) use kprobes::Kprobes;
pub(crate) use sampling::Sampling;
pub(crate) use tracepoints::Tracepoints;
pub(crate) use usage::ThreadUsage;

/// Counts what the calling thread does between [`start`](Self::start) and [`stop`](Self::stop).
pub(crate) trait Probe {
    /// Begins.
    fn start(&mut self) -> io::Result<()>;

    /// The last call was made.
    fn stop(&mut self) -> io::Result<()>;

    /// The last byte has arrived, so nothing is left to do for others either: adds what was counted.
    fn collect(&mut self, counted: &mut Counted) -> io::Result<()>;
}

/// What probes counted; a field is empty where no probe looked.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) usage: Usage,
    pub(crate) syscalls: Option<u64>,
    pub(crate) user_faults: Option<u64>,
    pub(crate) copied: Vec<Copied>,
    pub(crate) sampled: Option<sampling::Tally>,
}

/// Bytes that the CPU copied at one hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) hop: HopKind,
    pub(crate) bytes: u64,
    /// Where they were counted.
    pub(crate) at: String,
}

/// A probe that can be used, or why it cannot.
pub(crate) struct Offer {
    pub(crate) about: report::Probe,
    pub(crate) probe: Option<Box<dyn Probe>>,
}

impl Offer {
    pub(crate) fn new<P: Probe + 'static>(
        name: &str,
        counts: &str,
        made: Result<(P, Option<String>), String>,
    ) -> Self {
        let (probe, note) = match made {
            Ok((probe, note)) => (Some(Box::new(probe) as Box<dyn Probe>), note),
            Err(why) => (None, Some(why)),
        };
        let about = report::Probe {
            name: name.to_owned(),
            counts: counts.to_owned(),
            used: probe.is_some(),
            note,
        };
        Self { about, probe }
    }
}

/// Why the kernel's tracing could not be used, and what would help.
pub(crate) fn refusal(error: &io::Error) -> String {
    if !rustix::process::geteuid().is_root() {
        return format!("{error}; root (CAP_SYS_ADMIN, CAP_PERFMON) would add it");
    }
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    match lockdown.contains("[none]") || lockdown.is_empty() {
        true => error.to_string(),
        false => format!("{error}; the kernel is locked down ({})", lockdown.trim()),
    }
}
