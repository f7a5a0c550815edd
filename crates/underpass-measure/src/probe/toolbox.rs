//! The probes of this machine: those that can be used, and what is to be said of all.

use std::io;
use std::rc::Rc;

use super::{About, Kprobes, Probe, Sampling, ThreadUsage, Tracepoints, kprobes};
use crate::report;
use crate::symbols::Symbols;
use crate::tracefs::Tracefs;

type Probes = Vec<Box<dyn Probe>>;

/// The probes, by what they do to what they measure.
#[derive(Default)]
pub(crate) struct Toolbox {
    /// Cost nothing while the bytes move: used where time is taken.
    pub(crate) timing: Probes,
    /// Make the kernel slower, and count exactly.
    pub(crate) counting: Probes,
    /// Interrupt now and then, and estimate.
    pub(crate) sampling: Probes,
    /// All that were tried, also those that cannot be used.
    pub(crate) about: Vec<report::Probe>,
    /// What was found to be said on the way.
    pub(crate) notices: Vec<String>,
}

impl Toolbox {
    /// Tries all; they count for the calling thread. The one that samples only for a `profile`.
    pub(crate) fn open(profile: bool) -> Self {
        let mut toolbox = Self::default();
        let usage = ThreadUsage::default();
        toolbox.timing = toolbox.add(ThreadUsage::ABOUT, Ok((usage, None)));
        let symbols = Symbols::read().map(Rc::new);
        let tracefs = Tracefs::open().map(Rc::new);
        if let Ok(tracefs) = &tracefs {
            toolbox.tidy(tracefs);
        }
        let made = both(&tracefs, &symbols).and_then(|(fs, names)| Kprobes::new(fs, names));
        toolbox.counting = toolbox.add(Kprobes::ABOUT, made);
        // Last: what is started after it, and stopped before it, would be counted by it.
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

    /// The probe, if there is one; `made` is it and a note, or why there is none.
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

    /// Takes away what a run that was killed has left behind.
    fn tidy(&mut self, tracefs: &Tracefs) {
        match kprobes::remove_stale(tracefs) {
            // A kernel without kprobes has no file to look into.
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

/// The same error for one more who needed what could not be had.
fn again(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), error.to_string())
}

/// Why the kernel's tracing could not be used, and what would help.
fn refusal(error: &io::Error) -> String {
    if !rustix::process::geteuid().is_root() {
        return format!("{error}; root (CAP_SYS_ADMIN, CAP_PERFMON) would add it");
    }
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown");
    match lockdown {
        Ok(state) if !state.contains("[none]") => {
            format!("{error}; the kernel is locked down: {}", state.trim())
        }
        // As in a container.
        _ if error.kind() == io::ErrorKind::PermissionDenied => {
            format!("{error}; CAP_SYS_ADMIN and CAP_PERFMON would add it")
        }
        _ => error.to_string(),
    }
}
