//! What /proc/PID/io tells, where the kernel does not let calls be counted: reads and writes,
//! without their ends.

use std::collections::HashMap;
use std::io;
use std::process::{Child, ExitStatus};

use super::procfs::{self, Io, Stat};
use super::{CallActivity, CallFamily, CopyHop, End, HopCopies, ProcessActivity};
use crate::probe::refusal;
use crate::report::Evidence;

/// The sums that were told already, by the process's number and start.
#[derive(Debug)]
pub(super) struct Summed {
    before: HashMap<(u32, u64), Io>,
    /// Children of this process that were waited for.
    waited_for: Vec<ProcessActivity>,
}

impl Summed {
    pub(super) fn start(stats: &HashMap<u32, Stat>) -> Self {
        let mut summed = Self {
            before: HashMap::new(),
            waited_for: Vec::new(),
        };
        summed.next(stats);
        summed
    }

    /// What a reader must know, where this has to do because of `error`: in one line.
    pub(super) fn note(error: &io::Error) -> String {
        let is_root = rustix::process::geteuid().is_root();
        let whose = if is_root {
            ""
        } else {
            " of one's own processes"
        };
        let known = format!("only sums of reads and writes{whose} are known, by /proc/PID/io");
        if is_root || error.kind() != io::ErrorKind::PermissionDenied {
            let why = refusal(error);
            return format!("{known}; calls by family and end, and copies, are not known: {why}");
        }
        format!(
            "{known} ({error}); root would add all other processes, calls by family and end, \
             copies, and CPU time in copies"
        )
    }

    /// Waits for a child. Others than root cannot read the sums of a process that has ended, but
    /// the kernel adds them to those of the process that waits for it.
    pub(super) fn wait_for(&mut self, child: &mut Child) -> io::Result<ExitStatus> {
        // In a /proc of another PID namespace, the child has another number.
        let stat = (procfs::own() == Some(std::process::id()))
            .then(|| procfs::stat(child.id()))
            .flatten();
        let before = procfs::own_io();
        let status = child.wait()?;
        let after = procfs::own_io();
        let (Some(stat), Some((before, read)), Some((after, _))) = (stat, before, after) else {
            return Ok(status);
        };
        let told = self.before.remove(&(child.id(), stat.start));
        let told = told.unwrap_or_default();
        // The first look itself is a read, too.
        let counted_from = Io {
            read_bytes: before.read_bytes + read + told.read_bytes,
            written_bytes: before.written_bytes + told.written_bytes,
            reads: before.reads + 1 + told.reads,
            writes: before.writes + told.writes,
        };
        self.waited_for.push(ProcessActivity {
            has_ended: true,
            cpu_seconds: Some(stat.ticks as f64 / procfs::ticks_per_second()),
            ..process(child.id(), &stat, calls(counted_from, after))
        });
        Ok(status)
    }

    pub(super) fn next(&mut self, stats: &HashMap<u32, Stat>) -> Vec<ProcessActivity> {
        let mut now = HashMap::new();
        let mut processes = std::mem::take(&mut self.waited_for);
        for (&pid, stat) in stats {
            let Some(io) = procfs::io(pid) else { continue };
            let key = (pid, stat.start);
            now.insert(key, io);
            let before = self.before.get(&key).copied().unwrap_or_default();
            let calls = calls(before, io);
            if !calls.is_empty() {
                processes.push(process(pid, stat, calls));
            }
        }
        self.before = now;
        processes
    }
}

fn process(pid: u32, stat: &Stat, calls: Vec<CallActivity>) -> ProcessActivity {
    ProcessActivity {
        pid,
        parent: stat.parent,
        name: stat.name.clone(),
        calls,
        copies: vec![unknown()],
        ..ProcessActivity::default()
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
        why: "/proc/PID/io does not tell by which calls bytes moved, or between which ends; its sums \
              are also of children that ended"
            .to_owned(),
    }
}
