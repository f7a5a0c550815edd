//! Metrics of this process, with the names that Prometheus' client libraries use: `process_*`.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

/// Reads proc(5) at each scrape. What cannot be read is left out.
#[derive(Debug)]
pub(super) struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let text = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        if let Some(stat) = Stat::parse(&text) {
            let kind = MetricType::Counter;
            let help = "CPU time of the process, in user and kernel mode";
            let cpu = encoder.encode_descriptor("process_cpu", help, Some(&Unit::Seconds), kind)?;
            ConstCounter::new(stat.cpu_seconds).encode(cpu)?;
            for (name, help, bytes) in [
                (
                    "process_resident_memory",
                    "Physical memory in use",
                    stat.resident,
                ),
                (
                    "process_virtual_memory",
                    "Address space in use",
                    stat.mapped,
                ),
            ] {
                let kind = MetricType::Gauge;
                let gauge = encoder.encode_descriptor(name, help, Some(&Unit::Bytes), kind)?;
                ConstGauge::new(bytes as i64).encode(gauge)?;
            }
            if let Some(boot) = boot_time() {
                let help = "When the process began, in seconds since 1970";
                let (unit, kind) = (Some(&Unit::Seconds), MetricType::Gauge);
                let start = encoder.encode_descriptor("process_start_time", help, unit, kind)?;
                ConstGauge::new(boot + stat.began).encode(start)?;
            }
        }
        let most = getrlimit(Resource::Nofile).current;
        for (name, help, count) in [
            (
                "process_open_fds",
                "Descriptors that are open",
                open_descriptors(),
            ),
            ("process_max_fds", "Descriptors that may be open", most),
        ] {
            let Some(count) = count else { continue };
            let gauge = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            ConstGauge::new(count as i64).encode(gauge)?;
        }
        Ok(())
    }
}

/// What `/proc/PID/stat` says, in seconds and bytes.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    /// Seconds from the machine's start to that of the process.
    began: f64,
    mapped: u64,
    resident: u64,
}

impl Stat {
    /// Parses the fields behind the program's name, which may contain anything but ends with the
    /// last parenthesis. `utime` is field 14, and the first one behind the name is field 3.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let seconds = |ticks: u64| ticks as f64 / clock_ticks_per_second() as f64;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            began: seconds(field(22)?),
            mapped: field(23)?,
            resident: field(24)? * page_size() as u64,
        })
    }
}

/// When the machine started, in seconds since 1970: `btime` of `/proc/stat`.
fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// The descriptors that are open, without the one that counts them.
fn open_descriptors() -> Option<u64> {
    let count = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(count as u64 - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_stand_behind_the_name_whatever_that_is() {
        let ticks = clock_ticks_per_second();
        let text = format!(
            "12 (a ) b) S 1 12 12 0 -1 4194560 100 0 0 0 {} {} 0 0 20 0 1 0 {} 8192 3 1844 1 1",
            2 * ticks,
            ticks,
            7 * ticks
        );
        let expected = Stat {
            cpu_seconds: 3.0,
            began: 7.0,
            mapped: 8192,
            resident: 3 * page_size() as u64,
        };
        assert_eq!(Stat::parse(&text), Some(expected));
        assert_eq!(Stat::parse("12 (short) S 1"), None);
        assert_eq!(Stat::parse(""), None);
    }
}
