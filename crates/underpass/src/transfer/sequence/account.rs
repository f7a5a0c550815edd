//! What all parts together have moved and cost.

use std::time::Instant;

use crate::endpoint::{Endpoint, Kind};
use crate::receipt::{
    ContextSwitches, CpuTime, Fallback, Party, Receipt, RouteUse, copies, crypto,
};
use crate::route::Route;
use crate::sys::usage::Usage;
use crate::transfer::counters::Counters;

/// The group of memory.
pub(super) const MEMORY: usize = 0;

#[derive(Debug)]
pub(super) struct Account {
    /// Sources whose bytes cost the same, and what was moved from them. Memory comes first.
    groups: Vec<Group>,
    pub(super) bytes: u64,
    pub(super) calls: u64,
    hole_bytes: u64,
    fallbacks: Vec<Fallback>,
    started: Instant,
    before: Usage,
}

#[derive(Debug)]
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
            fallbacks: Vec::new(),
            started: Instant::now(),
            before: Usage::of_thread(),
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
        RouteUse::add(&mut self.groups[group].routes, route, bytes, syscalls);
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
        for used in self.groups.iter().flat_map(|group| &group.routes) {
            RouteUse::add(&mut routes, used.route, used.bytes, used.syscalls);
        }
        // Nothing goes by send-zerocopy: memory is gathered and written.
        let each = self
            .groups
            .iter()
            .map(|group| copies::count(&group.routes, &group.from, to, 0));
        let bytes = self.bytes - unsent.min(self.bytes);
        let from = &self.groups[MEMORY].from;
        let usage = Usage::of_thread().since(&self.before);
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
            wall: self.started.elapsed(),
            sync: None,
            already_there: 0,
            checksum: None,
        }
    }
}
