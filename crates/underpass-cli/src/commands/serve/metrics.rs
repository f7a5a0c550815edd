//! What `serve` counts, for Prometheus.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use underpass_http::ServerStats;

use super::access_log::AccessLog;
use crate::server;

mod collect;
mod tally;

pub(crate) use tally::Tally;

pub(super) fn registry(
    stats: Arc<ServerStats>,
    tally: Arc<Tally>,
    log: Option<AccessLog>,
) -> Registry {
    let mut registry = server::registry();
    registry.register_collector(Box::new(collect::Counters { stats, log }));
    registry.register_collector(Box::new(tally));
    registry
}
