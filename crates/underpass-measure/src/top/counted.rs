//! What BPF programs counted, as the activity of processes.

use std::collections::{HashMap, HashSet};
use std::io;

use super::bpf::{Bpf, Counts, Identity, Process};
use super::{Activity, CallActivity, CopyHop, HopCopies, ProcessActivity, decode, hops};
use crate::report::Evidence;

/// Numbers that only grow, by whose and what they are.
type Totals = HashMap<(Identity, u32), Vec<u64>>;

/// Counts, and what was told of them already.
#[derive(Debug)]
pub(super) struct Counted {
    bpf: Bpf,
    /// System calls and page faults of processes.
    processes: HashMap<Identity, (u64, u64)>,
    calls: Totals,
    copies: Totals,
    lost: u64,
    nanoseconds: u64,
}

impl Counted {
    pub(super) fn new(bpf: Bpf) -> Self {
        Self {
            bpf,
            processes: HashMap::new(),
            calls: Totals::new(),
            copies: Totals::new(),
            lost: 0,
            nanoseconds: 0,
        }
    }

    /// Tells what was counted since the last call.
    pub(super) fn next(&mut self, activity: &mut Activity) -> io::Result<()> {
        let counts = self.bpf.counts()?;
        let calls = grown(&mut self.calls, &counts.calls);
        let copies = grown(&mut self.copies, &counts.copies);
        activity.unattributed = self.unattributed(&copies);
        let processes = counts.processes.iter();
        activity.processes = processes
            .filter_map(|process| self.process(process, &calls, &copies))
            .collect();
        activity.overhead.lost = counts.lost.saturating_sub(self.lost);
        self.lost = counts.lost;
        activity.overhead.probes_cpu_seconds = counts.nanoseconds.map(|now| {
            let before = std::mem::replace(&mut self.nanoseconds, now);
            now.saturating_sub(before) as f64 / 1e9
        });
        self.forget(&counts);
        Ok(())
    }

    /// What a process did, if it did anything or ended.
    fn process(
        &mut self,
        process: &Process,
        calls: &HashMap<Identity, Vec<(u32, Vec<u64>)>>,
        copies: &HashMap<Identity, Vec<(u32, Vec<u64>)>>,
    ) -> Option<ProcessActivity> {
        let now = (process.system_calls, process.page_faults);
        let before = self.processes.insert(process.identity, now);
        let (calls_before, faults_before) = before.unwrap_or_default();
        let mine = calls.get(&process.identity).map_or(&[][..], Vec::as_slice);
        let at_hops = copies.get(&process.identity).map_or(&[][..], Vec::as_slice);
        let has_ended = process.ended_after.is_some();
        if !has_ended && before == Some(now) && mine.is_empty() && at_hops.is_empty() {
            return None;
        }
        let pid = process.shown?;
        let mut calls: Vec<_> = mine.iter().filter_map(call).collect();
        calls.sort_by_key(|call| (std::cmp::Reverse(call.bytes), call.family, call.from));
        Some(ProcessActivity {
            pid,
            parent: process.parent,
            name: process.name.clone(),
            is_kernel_thread: process.is_kernel_thread,
            has_ended,
            cpu_seconds: process.ended_after.map(|all| all as f64 / 1e9),
            system_calls: Some(process.system_calls - calls_before),
            page_faults: self
                .bpf
                .counts_faults
                .then_some(process.page_faults - faults_before),
            copies: hops::copies(&calls, &by_hop(at_hops), &self.bpf.counted),
            calls,
            ..ProcessActivity::default()
        })
    }

    fn unattributed(&self, copies: &HashMap<Identity, Vec<(u32, Vec<u64>)>>) -> Vec<HopCopies> {
        let copies = copies.get(&Identity::NOBODY).map_or(&[][..], Vec::as_slice);
        let told = by_hop(copies).into_iter().map(|(hop, bytes)| HopCopies {
            hop,
            bytes: u64::try_from(bytes).ok(),
            evidence: Evidence::Measured,
            why: self.bpf.counted.get(&hop).cloned().unwrap_or_default(),
        });
        told.collect()
    }

    /// Forgets the processes that ended.
    fn forget(&mut self, counts: &Counts) {
        let ended = counts.processes.iter().filter(|p| p.ended_after.is_some());
        let ended: HashSet<_> = ended.map(|process| process.identity).collect();
        if ended.is_empty() {
            return;
        }
        self.processes.retain(|process, _| !ended.contains(process));
        for totals in [&mut self.calls, &mut self.copies] {
            totals.retain(|(process, _), _| !ended.contains(process));
        }
    }
}

/// By how much numbers grew, for those that did.
fn grown(
    before: &mut Totals,
    now: &[(Identity, u32, Vec<u64>)],
) -> HashMap<Identity, Vec<(u32, Vec<u64>)>> {
    let mut grown: HashMap<Identity, Vec<_>> = HashMap::new();
    for (process, what, numbers) in now {
        let told = before.insert((*process, *what), numbers.clone());
        let told = told.unwrap_or_else(|| vec![0; numbers.len()]);
        // Copies may also be subtracted: they are numbers with a sign.
        let by: Vec<_> = numbers
            .iter()
            .zip(&told)
            .map(|(now, told)| now.wrapping_sub(*told))
            .collect();
        if by.iter().any(|number| *number != 0) {
            grown.entry(*process).or_default().push((*what, by));
        }
    }
    grown
}

fn call((what, numbers): &(u32, Vec<u64>)) -> Option<CallActivity> {
    let (family, from, to) = decode::call(*what)?;
    let &[calls, bytes, calls_of_unknown_bytes] = numbers.as_slice() else {
        return None;
    };
    Some(CallActivity {
        family,
        from,
        to,
        calls,
        bytes,
        calls_of_unknown_bytes,
    })
}

fn by_hop(copies: &[(u32, Vec<u64>)]) -> HashMap<CopyHop, i64> {
    let pairs = copies.iter().filter_map(|(what, numbers)| {
        let bytes = numbers.first()?.cast_signed();
        Some((decode::hop(*what)?, bytes))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_grew_is_told() {
        let process = Identity { start: 1, pid: 2 };
        let mut before = Totals::new();
        let first = grown(&mut before, &[(process, 3, vec![1, 10])]);
        assert_eq!(first[&process], [(3, vec![1, 10])]);
        let same = grown(&mut before, &[(process, 3, vec![1, 10])]);
        assert!(same.is_empty());
        let more = grown(&mut before, &[(process, 3, vec![2, 4])]);
        assert_eq!(
            by_hop(&[(0, vec![more[&process][0].1[1]])])[&CopyHop::FileToUser],
            -6
        );
    }
}
