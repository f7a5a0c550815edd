//! The probes that can be used on this machine, and notices about all of them.

use std::io;
use std::rc::Rc;

use super::{About, Kprobes, Probe, Sampling, ThreadUsage, Tracepoints, kprobes};
use crate::report;
use crate::symbols::Symbols;
use crate::tracefs::Tracefs;

type Probes = Vec<Box<dyn Probe>>;

/// The probes, grouped by how they affect what they measure.
#[derive(Default)]
pub(crate) struct Toolbox {
    /// Probes that cost nothing while the bytes move. They are used while time is measured.
    pub(crate) timing: Probes,
    /// Probes that slow the kernel down, and count exactly.
    pub(crate) counting: Probes,
    /// Probes that interrupt now and then, and estimate.
    pub(crate) sampling: Probes,
    /// All probes that were tried, including those that cannot be used.
    pub(crate) about: Vec<report::Probe>,
    /// Notices for the user that came up meanwhile.
    pub(crate) notices: Vec<String>,
}

impl Toolbox {
    /// Tries all probes. They count for the calling thread. The one that samples is tried only for
    /// a `profile`; encryption by the kernel is counted only if there is any (`encrypts`).
    pub(crate) fn open(profile: bool, encrypts: bool) -> Self {
        let mut toolbox = Self::default();
        let usage = ThreadUsage::default();
        toolbox.timing = toolbox.add(ThreadUsage::ABOUT, Ok((usage, None)));
        let symbols = Symbols::read().map(Rc::new);
        let tracefs = Tracefs::open().map(Rc::new);
        if let Ok(tracefs) = &tracefs {
            toolbox.tidy(tracefs);
        }
        let made = both(&tracefs, &symbols);
        let made = made.and_then(|(fs, names)| Kprobes::new(fs, names, encrypts));
        toolbox.counting = toolbox.add(Kprobes::ABOUT, made);
        // This probe comes last: it would count the calls that start or stop any probe after it.
        let made = tracefs
            .as_ref()
            .map_err(again)
            .and_then(|fs| Tracepoints::new(fs));
        let tracepoints = toolbox.add(Tracepoints::ABOUT, made);
        toolbox.counting.extend(tracepoints);
        if profile {
            let made = symbols.as_ref().map_err(again).and_then(Sampling::new);
            toolbox.sampling = toolbox.add(Sampling::ABOUT, made.map(|probe| (probe, None)));
        }
        toolbox
    }

    /// Adds a probe, if there is one. `made` is the probe and a note, or the reason why there is
    /// none.
    fn add<P: Probe + 'static>(
        &mut self,
        about: About,
        made: io::Result<(P, Option<String>)>,
    ) -> Probes {
        let (probe, note): (Option<Box<dyn Probe>>, _) = match made {
            Ok((probe, note)) => (Some(Box::new(probe)), note),
            Err(error) => (None, Some(refusal(&error))),
        };
        self.about.push(report::Probe {
            name: about.name.to_owned(),
            counts: about.counts.to_owned(),
            used: probe.is_some(),
            note,
        });
        probe.into_iter().collect()
    }

    /// Removes what a killed run has left behind.
    fn tidy(&mut self, tracefs: &Tracefs) {
        match kprobes::remove_stale(tracefs) {
            // A kernel without kprobes has no such file.
            Ok(0) | Err(_) => {}
            Ok(count) => self.notices.push(format!(
                "{count} kprobe events of a run that was killed were found and removed"
            )),
        }
    }
}

fn both<'a, A, B>(a: &'a io::Result<A>, b: &'a io::Result<B>) -> io::Result<(&'a A, &'a B)> {
    Ok((a.as_ref().map_err(again)?, b.as_ref().map_err(again)?))
}

/// A copy of the error, for another probe that needed the same thing.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Why the kernel's tracing cannot be used, and what would help.
pub(crate) fn refusal(error: &io::Error) -> String {
    if !rustix::process::geteuid().is_root() {
        return format!("{error}; root (CAP_SYS_ADMIN, CAP_PERFMON) would add it");
    }
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown");
    match lockdown {
        Ok(state) if state.contains("[confidentiality]") => format!(
            "the kernel is locked down for confidentiality, and refuses this to everybody ({error}); boot it with \
             lockdown=integrity or without lockdown="
        ),
        Ok(state) if !state.contains("[none]") => {
            format!("{error}; the kernel is locked down: {}", state.trim())
        }
        // For example in a container.
        _ if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("{error}; CAP_SYS_ADMIN and CAP_PERFMON would add it")
        }
        _ => error.to_string(),
    }
}
