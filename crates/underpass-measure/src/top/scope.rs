//! Which processes are watched: those that were named, and their descendants.

use std::collections::{HashMap, HashSet};

use super::procfs::Stat;
use super::{ProcessActivity, TopSettings};

#[derive(Debug)]
pub(super) enum Scope {
    /// All processes of the machine.
    All,
    /// These, by number, and with `true` their descendants.
    These(HashSet<u32>, bool),
}

impl Scope {
    pub(super) fn new(settings: &TopSettings, stats: &HashMap<u32, Stat>) -> Self {
        if settings.processes.is_empty() {
            return Self::All;
        }
        let members = settings.processes.iter().copied().collect();
        let mut scope = Self::These(members, settings.descendants);
        scope.grow(stats.iter().map(|(&pid, stat)| (pid, stat.parent)));
        scope
    }

    /// Removes those that are not watched.
    pub(super) fn keep(
        &mut self,
        processes: &mut Vec<ProcessActivity>,
        stats: &HashMap<u32, Stat>,
    ) {
        let running = stats.iter().map(|(&pid, stat)| (pid, stat.parent));
        // A process whose parent has ended has another parent now. It made its first call before.
        let active = processes
            .iter()
            .map(|process| (process.pid, process.parent));
        self.grow(running.chain(active).collect::<Vec<_>>().into_iter());
        let Self::These(members, _) = self else {
            return;
        };
        processes.retain(|process| members.contains(&process.pid));
        // The numbers of those that ended may be given to others.
        members.retain(|pid| stats.contains_key(pid));
    }

    /// Adds the children of members, given each process and its parent.
    fn grow(&mut self, parents: impl Iterator<Item = (u32, u32)>) {
        let Self::These(members, true) = self else {
            return;
        };
        let parents: Vec<_> = parents.collect();
        loop {
            let children = parents
                .iter()
                .filter(|(pid, parent)| members.contains(parent) && !members.contains(pid));
            let children: Vec<_> = children.map(|(pid, _)| *pid).collect();
            if children.is_empty() {
                return;
            }
            members.extend(children);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(parent: u32) -> Stat {
        Stat {
            name: String::new(),
            parent,
            is_kernel_thread: false,
            ticks: 0,
            start: 0,
        }
    }

    fn process(pid: u32, parent: u32) -> ProcessActivity {
        ProcessActivity {
            pid,
            parent,
            ..ProcessActivity::default()
        }
    }

    #[test]
    fn descendants_are_watched_also_if_those_between_have_ended() {
        let settings = TopSettings {
            processes: vec![10],
            ..TopSettings::default()
        };
        let stats = HashMap::from([(10, stat(1)), (11, stat(10)), (50, stat(1))]);
        let mut scope = Scope::new(&settings, &stats);
        // 12 was started by 11, which has ended, and started 13.
        let stats = HashMap::from([(10, stat(1)), (13, stat(1)), (50, stat(1))]);
        let mut processes = vec![process(50, 1), process(12, 11), process(13, 12)];
        scope.keep(&mut processes, &stats);
        let pids: Vec<_> = processes.iter().map(|process| process.pid).collect();
        assert_eq!(pids, [12, 13]);
        // 12 is another process now.
        let mut processes = vec![process(12, 1), process(13, 1)];
        scope.keep(&mut processes, &stats);
        assert_eq!(processes.len(), 1);
    }
}
