//! Counts requests by method and status, and their durations. Costs a few relaxed additions for
//! each request.

use std::fmt::{self, Debug};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::Unit;
use underpass_http::Exchange;

const METHODS: [&str; 8] = [
    "GET", "HEAD", "PUT", "OPTIONS", "POST", "DELETE", "PATCH", "other",
];
const OTHER: usize = METHODS.len() - 1;
/// The statuses 100 to 599. Place 0 is for exchanges without a response.
const STATUSES: usize = 501;
/// Upper bounds of the histogram, in seconds: they reach from a small file on loopback to a film on
/// a slow link.
const BOUNDS: [f64; 14] = [
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0,
];

pub(crate) struct RequestCounts {
    /// Indexed by method, then status.
    requests: Box<[[AtomicU64; STATUSES]; METHODS.len()]>,
    /// Indexed by bound; the last one counts those above all bounds.
    durations: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
}

impl RequestCounts {
    pub(crate) fn new() -> Self {
        let none = || [const { AtomicU64::new(0) }; STATUSES];
        Self {
            requests: Box::new(std::array::from_fn(|_| none())),
            durations: [const { AtomicU64::new(0) }; BOUNDS.len() + 1],
            nanoseconds: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, exchange: &Exchange) {
        let (method, status) = (row(&exchange.method), column(exchange.status));
        self.requests[method][status].fetch_add(1, Relaxed);
        let seconds = exchange.elapsed.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.durations[bucket].fetch_add(1, Relaxed);
        let nanoseconds = exchange.elapsed.as_nanos() as u64;
        self.nanoseconds.fetch_add(nanoseconds, Relaxed);
    }

    fn encode_requests(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "underpass_http_requests",
            "Requests by method and by the status of their response; none if there was no response",
            None,
            MetricType::Counter,
        )?;
        for (method, row) in METHODS.iter().zip(self.requests.iter()) {
            for (column, count) in row.iter().enumerate() {
                let count = count.load(Relaxed);
                if count > 0 {
                    let status = match column {
                        0 => "none".to_owned(),
                        column => (column + 99).to_string(),
                    };
                    let labels = [("status", status.as_str()), ("method", method)];
                    ConstCounter::new(count).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }

    fn encode_durations(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let counts = self.durations.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<_> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let seconds = self.nanoseconds.load(Relaxed) as f64 / 1e9;
        encoder
            .encode_descriptor(
                "underpass_http_request_duration",
                "From a request's head to the last byte of its response",
                Some(&Unit::Seconds),
                MetricType::Histogram,
            )?
            .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)
    }
}

fn row(method: &Method) -> usize {
    let name = method.as_str();
    METHODS
        .iter()
        .position(|known| *known == name)
        .unwrap_or(OTHER)
}

fn column(status: Option<StatusCode>) -> usize {
    let status = status.map(|status| usize::from(status.as_u16()));
    status.map_or(0, |status| status - 99).min(STATUSES - 1)
}

impl Debug for RequestCounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestCounts").finish_non_exhaustive()
    }
}

impl Collector for RequestCounts {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.encode_requests(&mut encoder)?;
        self.encode_durations(&mut encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_and_status_has_its_place() {
        assert_eq!(METHODS[row(&Method::GET)], "GET");
        assert_eq!(METHODS[row(&Method::TRACE)], "other");
        assert_eq!(
            METHODS[row(&Method::from_bytes(b"other").unwrap())],
            "other"
        );
        assert_eq!(column(None), 0);
        assert_eq!(column(Some(StatusCode::CONTINUE)), 1);
        assert_eq!(column(StatusCode::from_u16(599).ok()), STATUSES - 1);
        assert_eq!(column(StatusCode::from_u16(999).ok()), STATUSES - 1);
    }
}
