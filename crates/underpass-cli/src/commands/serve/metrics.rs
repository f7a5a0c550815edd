//! The counters of `serve`, for Prometheus.

use std::fmt::{self, Debug};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::{Registry, Unit};
use underpass_http::ServerStats;

use super::access_log::AccessLog;
use super::bucket::Bucket;
use super::https::Https;
use crate::server::{self, MetricEncoder, TotalRate};

mod request_counts;
mod tls_counts;

pub(crate) use request_counts::RequestCounts;

/// The counters of a server. Those of TLS are there if it serves HTTPS.
pub(super) fn registry(
    stats: Arc<ServerStats>,
    requests: Arc<RequestCounts>,
    log: Option<AccessLog>,
    https: Option<&Https>,
    rate: Option<Arc<TotalRate>>,
    bucket: Option<&Bucket>,
) -> Registry {
    let mut registry = server::registry();
    registry.register_collector(Box::new(ServerCollector { stats, log, rate }));
    registry.register_collector(Box::new(requests));
    if let Some(bucket) = bucket {
        registry.register_collector(bucket.collector());
    }
    if let Some(https) = https {
        let stats = Arc::clone(&https.stats);
        registry.register_collector(Box::new(tls_counts::TlsCollector(stats)));
        if let Some(acme) = &https.acme {
            acme.register(&mut registry);
        }
    }
    registry
}

struct ServerCollector {
    stats: Arc<ServerStats>,
    log: Option<AccessLog>,
    rate: Option<Arc<TotalRate>>,
}

impl ServerCollector {
    fn families(&self, to: &mut MetricEncoder<'_>) -> fmt::Result {
        let stats = &self.stats;
        to.labelled(
            ("underpass_http_response", Some(&Unit::Bytes)),
            "Bytes sent, including heads: by sendfile(2) from the page cache, from the mappings of files (HTTP/2), written \
             from memory, or encrypted in this process",
            "route",
            &[
                ("sendfile", stats.bytes_sendfile.get()),
                ("map", stats.bytes_mapped.get()),
                ("write", stats.bytes_written.get()),
                ("encrypt", stats.bytes_encrypted.get()),
            ],
        )?;
        to.labelled(
            ("underpass_http_store_responses", None),
            "Responses with content of an object of a store, by how much of it was in the cache at the beginning: \
             whole, part (with the first byte), or nothing",
            "cached",
            &[
                ("whole", stats.objects_cached.get()),
                ("part", stats.objects_partly_cached.get()),
                ("nothing", stats.objects_not_cached.get()),
            ],
        )?;
        to.labelled(
            ("underpass_http_fallbacks", None),
            "Times that a file was not sent by sendfile(2): the kernel refused, or the file cannot be mapped",
            "reason",
            &[
                ("refused", stats.fallbacks_refused.get()),
                ("unmapped", stats.fallbacks_unmapped.get()),
            ],
        )?;
        to.gauge(
            "underpass_http_connections_open",
            "Connections open now",
            stats.connections_open.get(),
        )?;
        if let Some(rate) = &self.rate {
            let (sending, share) = rate.now();
            to.gauge(
                "underpass_http_rate_connections",
                "Connections that send now, and share the rate of --rate-total",
                sending as u64,
            )?;
            to.gauge(
                "underpass_http_rate_share",
                "Bytes per second that each of them is sent at most",
                share,
            )?;
        }
        let counters = connection_counters(stats);
        for (name, help, count) in counters.into_iter().chain(response_counters(stats)) {
            to.counter(name, help, count)?;
        }
        if let Some(log) = &self.log {
            to.counter(
                "underpass_http_access_log_lost",
                "Access log lines lost because the output was not read fast enough",
                log.lost(),
            )?;
        }
        Ok(())
    }
}

/// The name, the description and the value of a counter.
type Counter = (&'static str, &'static str, u64);

fn connection_counters(stats: &ServerStats) -> [Counter; 8] {
    [
        (
            "underpass_http_connections_accepted",
            "Connections accepted",
            stats.connections_accepted.get(),
        ),
        (
            "underpass_http_accept_pauses",
            "Times that accepting paused because there was no descriptor or memory for another connection",
            stats.accept_pauses.get(),
        ),
        (
            "underpass_http_http2_connections",
            "Connections that speak HTTP/2",
            stats.http2_connections.get(),
        ),
        (
            "underpass_http_http2_floods",
            "Connections of HTTP/2 ended because of too many frames that ask for nothing",
            stats.http2_floods.get(),
        ),
        (
            "underpass_http_streams_timed_out",
            "Requests of HTTP/2 ended because a timeout passed",
            stats.streams_timed_out.get(),
        ),
        (
            "underpass_http_connections_timed_out",
            "Connections ended because a timeout passed",
            stats.connections_timed_out.get(),
        ),
        (
            "underpass_http_connections_evicted",
            "Idle connections closed to make room for others",
            stats.connections_evicted.get(),
        ),
        (
            "underpass_http_connections_panicked",
            "Connections ended by an internal error of the server",
            stats.connections_panicked.get(),
        ),
    ]
}

fn response_counters(stats: &ServerStats) -> [Counter; 14] {
    [
        (
            "underpass_http_requests_refused",
            "Requests refused before any file was looked for",
            stats.requests_refused.get(),
        ),
        (
            "underpass_http_truncated",
            "Responses whose file got shorter while it was sent",
            stats.truncated.get(),
        ),
        (
            "underpass_http_changed",
            "Responses broken off because their file was written to while it was sent",
            stats.changed.get(),
        ),
        (
            "underpass_http_archive_left_out",
            "Files and directories that could not be read, and are not in archives",
            stats.archive_left_out.get(),
        ),
        (
            "underpass_http_store_failures",
            "Responses broken off because the store did not give the rest",
            stats.store_failures.get(),
        ),
        (
            "underpass_http_store_sent_bytes",
            "Bytes of bodies that were sent of objects of a store, from their cache",
            stats.bytes_of_objects.get(),
        ),
        (
            "underpass_http_store_waits",
            "Times that a response waited for the store",
            stats.store_waits.get(),
        ),
        (
            "underpass_http_cold_waits",
            "Times that a response waited for the disk",
            stats.cold_waits.get(),
        ),
        (
            "underpass_http_turns_yielded",
            "Times that a connection yielded to the others of its thread",
            stats.turns_yielded.get(),
        ),
        (
            "underpass_http_cache_hits",
            "Files found open",
            stats.cache_hits.get(),
        ),
        (
            "underpass_http_cache_misses",
            "Files that had to be opened",
            stats.cache_misses.get(),
        ),
        (
            "underpass_http_cache_revalidations",
            "Open files whose path was looked up again",
            stats.cache_revalidations.get(),
        ),
        (
            "underpass_http_received_bytes",
            "Bytes of requests",
            stats.bytes_received.get(),
        ),
        (
            "underpass_http_buffered_bytes",
            "Bytes, among the written ones, of files that cannot be mapped",
            stats.bytes_read.get(),
        ),
    ]
}

impl Debug for ServerCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCollector").finish_non_exhaustive()
    }
}

impl Collector for ServerCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.families(&mut MetricEncoder(encoder))
    }
}
