//! Passes counters and gauges that are kept elsewhere to prometheus-client.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::server::ConnectionCounts;

/// Writes metrics whose values are known already.
pub(crate) struct MetricEncoder<'a>(pub(crate) DescriptorEncoder<'a>);

impl MetricEncoder<'_> {
    pub(crate) fn counter(&mut self, name: &str, help: &str, count: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Counter)?;
        ConstCounter::new(count).encode(encoder)
    }

    pub(crate) fn gauge(&mut self, name: &str, help: &str, level: u64) -> fmt::Result {
        let encoder = self
            .0
            .encode_descriptor(name, help, None, MetricType::Gauge)?;
        ConstGauge::new(level as i64).encode(encoder)
    }

    /// The metrics of the connections of `command`.
    pub(crate) fn connections(&mut self, command: &str, counts: &ConnectionCounts) -> fmt::Result {
        self.gauge(
            &format!("underpass_{command}_connections_open"),
            "Connections open now",
            counts.open.get(),
        )?;
        self.counter(
            &format!("underpass_{command}_connections_accepted"),
            "Connections accepted",
            counts.accepted.get(),
        )?;
        self.counter(
            &format!("underpass_{command}_handshakes_failed"),
            "Connections whose TLS handshake failed",
            counts.handshakes_failed.get(),
        )?;
        self.counter(
            &format!("underpass_{command}_connections_panicked"),
            "Connections ended by an internal error of the server",
            counts.panicked.get(),
        )?;
        self.counter(
            &format!("underpass_{command}_accept_pauses"),
            "Times that accepting paused because there was no descriptor or memory for another connection",
            counts.pauses.get(),
        )
    }

    pub(crate) fn labelled(
        &mut self,
        (name, unit): (&str, Option<&Unit>),
        help: &str,
        label: &str,
        counts: &[(&str, u64)],
    ) -> fmt::Result {
        let mut family = self
            .0
            .encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (value, count) in counts {
            ConstCounter::new(*count).encode(family.encode_family(&[(label, *value)])?)?;
        }
        Ok(())
    }
}
