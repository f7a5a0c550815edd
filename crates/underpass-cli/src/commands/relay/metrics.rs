//! What `relay` counts, for Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};
use underpass::Count;
use underpass::relay::Stats as Carried;

use super::stats::Stats;
use crate::server::{self, MetricEncoder};

pub(super) fn registry(stats: &Arc<Stats>) -> Registry {
    let mut registry = server::registry();
    registry.register_collector(Box::new(Counters(Arc::clone(stats))));
    registry
}

#[derive(Debug)]
struct Counters(Arc<Stats>);

impl Collector for Counters {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = MetricEncoder(encoder);
        let stats = &self.0;
        to.labelled(
            ("underpass_relay_carried", Some(&Unit::Bytes)),
            "Bytes passed on: by splice(2), or through a buffer",
            "route",
            &[
                ("splice", stats.sum(|carried| &carried.spliced)),
                ("read-write", stats.sum(|carried| &carried.copied)),
            ],
        )?;
        to.labelled(
            ("underpass_relay_connections_ended", None),
            "Connections by how they ended",
            "how",
            &[
                ("closed", stats.sum(|carried| &carried.closed)),
                ("reset", stats.sum(|carried| &carried.reset)),
                ("timed-out", stats.sum(|carried| &carried.timed_out)),
                ("unreached", stats.unreached.get()),
            ],
        )?;
        to.labelled(
            ("underpass_relay_fallbacks", None),
            "Times that a bulk direction was copied: no pipe could be had, or the kernel does not splice",
            "reason",
            &[
                ("no-pipe", stats.sum(|carried| &carried.pipes_refused)),
                ("refused", stats.sum(|carried| &carried.splices_refused)),
            ],
        )?;
        to.connections("relay", &stats.connections)?;
        for (name, help, count) in counters(stats) {
            to.counter(name, help, count)?;
        }
        Ok(())
    }
}

fn counters(stats: &Stats) -> [(&'static str, &'static str, u64); 4] {
    let sum = |count: fn(&Carried) -> &Count| stats.sum(count);
    [
        (
            "underpass_relay_connects_failed",
            "Times that a target could not be reached",
            stats.connects_failed.get(),
        ),
        (
            "underpass_relay_promotions",
            "Directions that proved to be bulk",
            sum(|carried| &carried.promotions),
        ),
        (
            "underpass_relay_demotions",
            "Directions that proved not to be bulk any more",
            sum(|carried| &carried.demotions),
        ),
        (
            "underpass_relay_undelivered_bytes",
            "Bytes that were under way when a side went away",
            sum(|carried| &carried.undelivered),
        ),
    ]
}
