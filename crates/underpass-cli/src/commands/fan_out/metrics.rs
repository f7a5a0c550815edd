//! The counters of `fan-out`, for Prometheus.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};
use underpass::Count;
use underpass::fan_out::{FanOutStats, Hub};

use crate::server::{self, ConnectionCounts, MetricEncoder};

/// What subscribers of a file were sent, counted when they have ended.
#[derive(Debug, Default)]
pub(super) struct FileStats {
    /// Bytes sent by sendfile.
    pub(super) sendfile: Count,
    /// Bytes sent by other routes.
    pub(super) others: Count,
    /// Subscribers that got everything.
    pub(super) closed: Count,
    /// Subscribers that did not.
    pub(super) failed: Count,
}

/// The metrics of a stream.
pub(super) fn of_stream(hub: &Hub, connections: &Arc<ConnectionCounts>) -> Registry {
    let mut registry = server::registry();
    registry.register_collector(Box::new(StreamCollector {
        hub: hub.clone(),
        connections: Arc::clone(connections),
    }));
    registry
}

/// The metrics of a file.
pub(super) fn of_file(file: &Arc<FileStats>, connections: &Arc<ConnectionCounts>) -> Registry {
    let mut registry = server::registry();
    registry.register_collector(Box::new(FileCollector {
        stats: Arc::clone(file),
        connections: Arc::clone(connections),
    }));
    registry
}

#[derive(Debug)]
struct StreamCollector {
    hub: Hub,
    connections: Arc<ConnectionCounts>,
}

impl Collector for StreamCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = MetricEncoder(encoder);
        let stats = self.hub.stats();
        to.labelled(
            ("underpass_fan_out_taken", Some(&Unit::Bytes)),
            "Bytes read from the source: by splice(2), or through a buffer",
            "route",
            &[
                ("splice", stats.taken_spliced.get()),
                ("read-write", stats.taken_copied.get()),
            ],
        )?;
        to.labelled(
            ("underpass_fan_out_given", Some(&Unit::Bytes)),
            "Bytes sent to subscribers: by tee(2) and splice(2), or by write(2)",
            "route",
            &[
                ("splice", stats.given_spliced.get()),
                ("read-write", stats.given_copied.get()),
            ],
        )?;
        to.labelled(
            ("underpass_fan_out_subscribers_ended", None),
            "Subscribers by how they ended",
            "how",
            &endings(stats),
        )?;
        to.connections("fan_out", &self.connections)?;
        for (name, help, count) in counters(stats) {
            to.counter(name, help, count)?;
        }
        Ok(())
    }
}

fn endings(stats: &FanOutStats) -> [(&'static str, u64); 6] {
    [
        ("closed", stats.closed.get()),
        ("gone", stats.gone.get()),
        ("lagged", stats.lagged.get()),
        ("timed-out", stats.timed_out.get()),
        ("cut", stats.cut.get()),
        ("source-died", stats.source_died.get()),
    ]
}

fn counters(stats: &FanOutStats) -> [(&'static str, &'static str, u64); 3] {
    [
        (
            "underpass_fan_out_discarded_bytes",
            "Bytes read from the source while there was no subscriber",
            stats.discarded.get(),
        ),
        (
            "underpass_fan_out_undelivered_bytes",
            "Bytes read for subscribers and not delivered to them",
            stats.undelivered.get(),
        ),
        (
            "underpass_fan_out_pipes_refused",
            "Times that bulk was copied because there was no pipe",
            stats.pipes_refused.get(),
        ),
    ]
}

#[derive(Debug)]
struct FileCollector {
    stats: Arc<FileStats>,
    connections: Arc<ConnectionCounts>,
}

impl Collector for FileCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut to = MetricEncoder(encoder);
        to.labelled(
            ("underpass_fan_out_given", Some(&Unit::Bytes)),
            "Bytes sent to subscribers that have ended, by route",
            "route",
            &[
                ("sendfile", self.stats.sendfile.get()),
                ("other", self.stats.others.get()),
            ],
        )?;
        to.labelled(
            ("underpass_fan_out_subscribers_ended", None),
            "Subscribers by how they ended",
            "how",
            &[
                ("closed", self.stats.closed.get()),
                ("failed", self.stats.failed.get()),
            ],
        )?;
        to.connections("fan_out", &self.connections)?;
        match super::receipts::device_bytes() {
            Some(bytes) => to.counter(
                "underpass_fan_out_device_bytes",
                "Bytes that this process has read from devices",
                bytes,
            ),
            None => Ok(()),
        }
    }
}
