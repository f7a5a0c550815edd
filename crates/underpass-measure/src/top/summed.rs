//! What /proc/PID/io tells, where the kernel does not let calls be counted: reads and writes,
//! without their ends.

use std::collections::HashMap;

use super::procfs::{self, Io, Stat};
use super::{CallActivity, CallFamily, CopyHop, End, HopCopies, ProcessActivity};
use crate::report::Evidence;

/// The sums that were told already, by the process's number and start.
#[derive(Debug)]
pub(super) struct Summed {
    before: HashMap<(u32, u64), Io>,
}

impl Summed {
    pub(super) fn start(stats: &HashMap<u32, Stat>) -> Self {
        let mut summed = Self {
            before: HashMap::new(),
        };
        summed.next(stats);
        summed
    }

    /// What a reader must know, where this has to do because of `why`.
    pub(super) fn notes(why: &str) -> Vec<String> {
        let mut notes = vec![format!(
            "calls are not counted by family and end, and copies are not known: {why}"
        )];
        if !rustix::process::geteuid().is_root() {
            notes.push(
                "only processes of this user are shown, by /proc/PID/io; root would add the others"
                    .to_owned(),
            );
        }
        notes
    }

    pub(super) fn next(&mut self, stats: &HashMap<u32, Stat>) -> Vec<ProcessActivity> {
        let mut now = HashMap::new();
        let mut processes = Vec::new();
        for (&pid, stat) in stats {
            let Some(io) = procfs::io(pid) else { continue };
            let key = (pid, stat.start);
            now.insert(key, io);
            let before = self.before.get(&key).copied().unwrap_or_default();
            let calls = calls(before, io);
            if !calls.is_empty() {
                processes.push(ProcessActivity {
                    pid,
                    parent: stat.parent,
                    name: stat.name.clone(),
                    calls,
                    copies: vec![unknown()],
                    ..ProcessActivity::default()
                });
            }
        }
        self.before = now;
        processes
    }
}

fn calls(before: Io, now: Io) -> Vec<CallActivity> {
    let grew = |now: u64, before: u64| now.saturating_sub(before);
    let read = CallActivity {
        family: CallFamily::Read,
        from: End::Unknown,
        to: End::Memory,
        calls: grew(now.reads, before.reads),
        bytes: grew(now.read_bytes, before.read_bytes),
        calls_of_unknown_bytes: 0,
    };
    let written = CallActivity {
        family: CallFamily::Write,
        from: End::Memory,
        to: End::Unknown,
        calls: grew(now.writes, before.writes),
        bytes: grew(now.written_bytes, before.written_bytes),
        calls_of_unknown_bytes: 0,
    };
    let both = [read, written].into_iter();
    both.filter(|call| call.calls > 0 || call.bytes > 0)
        .collect()
}

fn unknown() -> HopCopies {
    HopCopies {
        hop: CopyHop::Other,
        bytes: None,
        evidence: Evidence::Unknown,
        why: "/proc/PID/io does not tell by which calls bytes moved, or between which ends"
            .to_owned(),
    }
}
