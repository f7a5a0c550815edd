//! The counts and times that a receipt is made of.

use std::time::{Duration, Instant};

use crate::receipt::{Fallback, RouteUse};
use crate::route::Route;
use crate::sys::usage::Usage;

/// Bytes, calls and time of one transfer.
#[derive(Clone, Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes: u64,
    pub(super) hole_bytes: u64,
    pub(super) routes: Vec<RouteUse>,
    pub(super) fallbacks: Vec<Fallback>,
    pub(super) usage: Usage,
    started: Option<Instant>,
    ended: Option<Instant>,
    /// The thread's usage when it last resumed the transfer.
    since: Option<Usage>,
}

impl Counters {
    /// Starts to count this thread's usage.
    pub(super) fn resume(&mut self) {
        self.started.get_or_insert_with(Instant::now);
        self.since.get_or_insert_with(Usage::of_thread);
    }

    /// Stops counting, before the thread does something else.
    pub(super) fn pause(&mut self) {
        if let Some(since) = self.since.take() {
            self.usage += Usage::of_thread().since(&since);
        }
    }

    /// Stops counting for good, after the last step.
    pub(super) fn end(&mut self) {
        self.pause();
        self.ended.get_or_insert_with(Instant::now);
    }

    pub(super) fn wall(&self) -> Duration {
        let started = self.started.unwrap_or_else(Instant::now);
        self.ended.unwrap_or_else(Instant::now) - started
    }

    /// Records that `route` made `syscalls` calls.
    pub(super) fn called(&mut self, route: Route, syscalls: u64) {
        self.entry(route).syscalls += syscalls;
    }

    /// Records that `route` delivered `bytes` to the sink.
    pub(super) fn delivered(&mut self, route: Route, bytes: u64) {
        self.bytes += bytes;
        self.entry(route).bytes += bytes;
    }

    /// The routes without the last `unsent` bytes, which never left this process.
    pub(super) fn routes_but(&self, unsent: u64) -> Vec<RouteUse> {
        let (mut routes, mut left) = (self.routes.clone(), unsent);
        for used in routes.iter_mut().rev() {
            let part = left.min(used.bytes);
            used.bytes -= part;
            left -= part;
        }
        routes
    }

    /// Records that `bytes` of a hole were skipped.
    pub(super) fn skipped(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.hole_bytes += bytes;
    }

    /// Takes back the last `bytes` that were skipped: the hole could not be made.
    pub(super) fn skip_back(&mut self, bytes: u64) {
        self.bytes -= bytes;
        self.hole_bytes -= bytes;
    }

    fn entry(&mut self, route: Route) -> &mut RouteUse {
        let known = self.routes.iter().position(|used| used.route == route);
        let at = known.unwrap_or_else(|| {
            self.routes.push(RouteUse {
                route,
                bytes: 0,
                syscalls: 0,
            });
            self.routes.len() - 1
        });
        &mut self.routes[at]
    }

    /// The route that moved the most bytes.
    pub(super) fn main_route(&self) -> Option<Route> {
        RouteUse::main(&self.routes)
    }
}
