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
    zerocopy_copied: u64,
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
            zerocopy_copied: 0,
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
        let fallbacks = counters.fallbacks.into_iter();
        for mut fallback in fallbacks {
            fallback.at += before;
            // One for each kind: the same in each of a million files says nothing more.
            let is_known = |known: &Fallback| {
                (known.from, known.to, &known.why) == (fallback.from, fallback.to, &fallback.why)
            };
            if !self.fallbacks.iter().any(is_known) {
                self.fallbacks.push(fallback);
            }
        }
    }

    fn used(&mut self, group: usize, route: Route, bytes: u64, syscalls: u64) {
        add_to(&mut self.groups[group].routes, route, bytes, syscalls);
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
            add_to(&mut routes, used.route, used.bytes, used.syscalls);
        }
        let moved = routes.iter().filter(|used| used.bytes > 0);
        let route = moved.max_by_key(|used| used.bytes).map(|used| used.route);
        let each = self
            .groups
            .iter()
            .map(|group| copies::count(&group.routes, &group.from, to, self.zerocopy_copied));
        let bytes = self.bytes - unsent.min(self.bytes);
        let from = &self.groups[MEMORY].from;
        let usage = Usage::of_thread().since(&self.before);
        Receipt {
            source,
            sink: party,
            bytes,
            complete,
            route,
            copies: copies::together(each),
            crypto: crypto::count(bytes - self.hole_bytes.min(bytes), from, to),
            routes,
            hole_bytes: self.hole_bytes,
            undelivered: 0,
            fallbacks: self.fallbacks.clone(),
            syscalls: self.calls,
            mode_switches: 2 * self.calls,
            context_switches: ContextSwitches {
                voluntary: usage.voluntary,
                involuntary: usage.involuntary,
            },
            cpu: CpuTime {
                user: usage.user,
                system: usage.system,
            },
            wall: self.started.elapsed(),
            sync: None,
        }
    }
}

fn add_to(routes: &mut Vec<RouteUse>, route: Route, bytes: u64, syscalls: u64) {
    match routes.iter_mut().find(|used| used.route == route) {
        Some(used) => {
            used.bytes += bytes;
            used.syscalls += syscalls;
        }
        None => routes.push(RouteUse {
            route,
            bytes,
            syscalls,
        }),
    }
}
