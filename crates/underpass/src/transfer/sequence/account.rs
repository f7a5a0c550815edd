//! What all parts together have moved and cost.

use crate::endpoint::{Endpoint, Kind};
use crate::receipt::{
    ContextSwitches, CpuTime, Fallback, Party, Receipt, RouteUse, copies, crypto,
};
use crate::route::Route;
use crate::transfer::counters::Counters;

/// The group of memory.
pub(super) const MEMORY: usize = 0;

#[derive(Clone, Debug)]
pub(super) struct Account {
    /// Sources whose bytes cost the same, and what was moved from them. Memory comes first.
    groups: Vec<Group>,
    pub(super) bytes: u64,
    pub(super) calls: u64,
    hole_bytes: u64,
    /// The group whose bytes were moved last.
    last: usize,
    fallbacks: Vec<Fallback>,
    /// Only what counts time; it has no bytes.
    pub(super) time: Counters,
}

#[derive(Clone, Debug)]
struct Group {
    from: Endpoint,
    routes: Vec<RouteUse>,
}

impl Account {
    pub(super) fn new() -> Self {
        Self {
            groups: vec![Group {
                from: Endpoint::assumed(Kind::Memory),
                routes: Vec::new(),
            }],
            bytes: 0,
            calls: 0,
            hole_bytes: 0,
            last: MEMORY,
            fallbacks: Vec::new(),
            time: Counters::default(),
        }
    }

    /// The group of a source.
    pub(super) fn group(&mut self, from: &Endpoint) -> usize {
        let costs = |it: &Endpoint| (it.kind, it.file_system, it.direct);
        let known = self
            .groups
            .iter()
            .position(|group| costs(&group.from) == costs(from));
        known.unwrap_or_else(|| {
            self.groups.push(Group {
                from: from.clone(),
                routes: Vec::new(),
            });
            self.groups.len() - 1
        })
    }

    /// Adds what one transfer did; its bytes came from `group`.
    pub(super) fn add(&mut self, group: usize, counters: Counters) {
        for used in &counters.routes {
            self.used(group, used.route, used.bytes, used.syscalls);
        }
        self.add_all_but_routes(counters);
    }

    /// Adds what a transfer of gathered bytes did, which came from several groups.
    pub(super) fn add_gathered(&mut self, runs: &[(usize, u64)], counters: Counters) {
        let mut runs = runs.to_vec();
        for used in &counters.routes {
            let mut left = used.bytes;
            self.used(MEMORY, used.route, 0, used.syscalls);
            for (group, count) in &mut runs {
                let part = left.min(*count);
                if part > 0 {
                    self.used(*group, used.route, part, 0);
                }
                *count -= part;
                left -= part;
            }
        }
        self.add_all_but_routes(counters);
    }

    fn add_all_but_routes(&mut self, counters: Counters) {
        let before = self.bytes;
        self.bytes += counters.bytes;
        self.hole_bytes += counters.hole_bytes;
        for fallback in counters.fallbacks {
            Fallback::add(&mut self.fallbacks, fallback, before);
        }
    }

    fn used(&mut self, group: usize, route: Route, bytes: u64, syscalls: u64) {
        if bytes > 0 {
            self.last = group;
        }
        RouteUse::add(&mut self.groups[group].routes, route, bytes, syscalls);
    }

    /// The groups without the last `unsent` bytes, which never left this process.
    fn groups_but(&self, unsent: u64) -> Vec<Group> {
        let (mut groups, mut left) = (self.groups.clone(), unsent);
        let (before, behind) = groups.split_at_mut(self.last);
        // Before those that were moved last it is not known which were, only how many.
        for group in behind.iter_mut().chain(before) {
            for used in group.routes.iter_mut().rev() {
                let part = left.min(used.bytes);
                used.bytes -= part;
                left -= part;
            }
        }
        groups
    }

    /// The receipt. The last `unsent` bytes have not left this process.
    pub(super) fn receipt(
        &self,
        source: Party,
        sink: (Party, &Endpoint),
        unsent: u64,
        complete: bool,
    ) -> Receipt {
        let (party, to) = sink;
        let mut routes: Vec<RouteUse> = Vec::new();
        let groups = self.groups_but(unsent);
        for used in groups.iter().flat_map(|group| &group.routes) {
            RouteUse::add(&mut routes, used.route, used.bytes, used.syscalls);
        }
        // Nothing goes by send-zerocopy: memory is gathered and written.
        let each = groups
            .iter()
            .map(|group| copies::count(&group.routes, &group.from, to, 0));
        let bytes = self.bytes - unsent.min(self.bytes);
        let from = &self.groups[MEMORY].from;
        let usage = self.time.usage;
        Receipt {
            source,
            sink: party,
            bytes,
            complete,
            route: RouteUse::main(&routes),
            copies: copies::together(each),
            crypto: crypto::count(bytes - self.hole_bytes.min(bytes), from, to),
            routes,
            hole_bytes: self.hole_bytes,
            undelivered: 0,
            fallbacks: self.fallbacks.clone(),
            syscalls: self.calls,
            mode_switches: 2 * self.calls,
            context_switches: ContextSwitches::of(&usage),
            cpu: CpuTime::of(&usage),
            wall: self.time.wall(),
            sync: None,
            already_there: 0,
            checksum: None,
        }
    }
}
