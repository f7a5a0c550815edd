//! The counters of `relay`, for Prometheus.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};
use underpass::relay::{RelayOutcome, RelayStats};
use underpass::{Count, units};

use crate::server::{self, ConnectionCounts, MetricEncoder};

/// Counters shared by all threads. A connection changes each only once.
#[derive(Debug, Default)]
pub(super) struct RelayCounts {
    pub(super) connections: Arc<ConnectionCounts>,
    /// Connections that ended because no target could be reached.
    pub(super) unreached: Count,
    /// Connections that did not begin with a header of the PROXY protocol of a proxy.
    pub(super) refused: Count,
    /// Failed attempts to connect to a target.
    pub(super) connects_failed: Count,
    /// Bytes that connections had sent their targets when they were cut off.
    cut_up: Count,
    /// Bytes that targets had sent them.
    cut_down: Count,
    thread_stats: Mutex<Vec<Arc<RelayStats>>>,
}

impl RelayCounts {
    /// Makes byte counters for one thread. They change at every wake-up, so threads do not share
    /// them.
    pub(super) fn of_thread(&self) -> Arc<RelayStats> {
        let stats = Arc::<RelayStats>::default();
        self.lock().push(Arc::clone(&stats));
        stats
    }

    /// A connection was cut off.
    pub(super) fn cut_off(&self, relayed: &RelayOutcome) {
        self.cut_up.add(relayed.up.bytes());
        self.cut_down.add(relayed.down.bytes());
    }

    /// What passed through connections that were cut off, for the last message.
    pub(super) fn passed_when_cut(&self) -> String {
        let [up, down] = [&self.cut_up, &self.cut_down].map(|it| units::count(it.get(), "byte"));
        format!("{up} up, {down} down")
    }

    /// The sum of a counter over all threads.
    pub(super) fn sum(&self, count: impl Fn(&RelayStats) -> &Count) -> u64 {
        self.lock().iter().map(|stats| count(stats).get()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<RelayStats>>> {
        self.thread_stats
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn registry(stats: &Arc<RelayCounts>) -> Registry {
    let mut registry = server::registry();
    registry.register_collector(Box::new(RelayCollector(Arc::clone(stats))));
    registry
}

#[derive(Debug)]
struct RelayCollector(Arc<RelayCounts>);

impl Collector for RelayCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = MetricEncoder(encoder);
        let stats = &self.0;
        to.labelled(
            ("underpass_relay_carried", Some(&Unit::Bytes)),
            "Bytes passed on: by splice(2), or through a buffer",
            "route",
            &[
                ("splice", stats.sum(|stats| &stats.spliced)),
                ("read-write", stats.sum(|stats| &stats.copied)),
            ],
        )?;
        to.labelled(
            ("underpass_relay_connections_ended", None),
            "Connections by how they ended",
            "how",
            &[
                ("closed", stats.sum(|stats| &stats.closed)),
                ("reset", stats.sum(|stats| &stats.reset)),
                ("timed-out", stats.sum(|stats| &stats.timed_out)),
                ("cut", stats.sum(|stats| &stats.cut)),
                ("unreached", stats.unreached.get()),
                ("refused", stats.refused.get()),
            ],
        )?;
        to.labelled(
            ("underpass_relay_fallbacks", None),
            "Times that a bulk direction was copied: there was no pipe, or the kernel does not splice",
            "reason",
            &[
                ("no-pipe", stats.sum(|stats| &stats.pipes_refused)),
                ("refused", stats.sum(|stats| &stats.splices_refused)),
            ],
        )?;
        to.connections("relay", &stats.connections)?;
        for (name, help, count) in counters(stats) {
            to.counter(name, help, count)?;
        }
        Ok(())
    }
}

fn counters(stats: &RelayCounts) -> [(&'static str, &'static str, u64); 4] {
    let sum = |count: fn(&RelayStats) -> &Count| stats.sum(count);
    [
        (
            "underpass_relay_connects_failed",
            "Times that a target could not be reached",
            stats.connects_failed.get(),
        ),
        (
            "underpass_relay_promotions",
            "Directions that proved to be bulk",
            sum(|stats| &stats.promotions),
        ),
        (
            "underpass_relay_demotions",
            "Directions that proved not to be bulk any longer",
            sum(|stats| &stats.demotions),
        ),
        (
            "underpass_relay_undelivered_bytes",
            "Bytes in flight when a side went away",
            sum(|stats| &stats.undelivered),
        ),
    ]
}
