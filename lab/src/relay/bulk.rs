//! Throughput and CPU time of saturated connections.

use std::fs::File;

use super::stream::{self, Streamed};
use super::{WARMUP, measure};
use crate::bench::{Bench, remove};
use crate::error::{Context, Result};
use crate::record::{Case, Metric, Row, Sample, noise, warning};

const RATE: &str = "GB/s";
const CPU_PER_GB: &str = "CPU s/GB";
const RELAY_BUSY: &str = "relay busy %";
const ENDS_BUSY: &str = "ends busy %";
/// Above this, the ends rather than the relay may limit the rate.
const ENDS_LIMIT: f64 = 95.0;

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let size = bench.scenario.sizes.first().map_or(8 << 20, |size| size.0);
    let path = bench.file("hot", size)?;
    let file = File::open(&path).context(|| format!("cannot open {}", path.display()))?;
    let route = bench.scenario.routes.first().map(String::as_str);
    let mut cases = Vec::new();
    for &connections in &bench.scenario.connections {
        let plural = if connections == 1 { "" } else { "s" };
        let name = format!("{connections} connection{plural}");
        let metrics = vec![
            Metric::more(RATE, 2),
            Metric::less(CPU_PER_GB, 3),
            Metric::told(RELAY_BUSY, 0),
            Metric::told(ENDS_BUSY, 0),
        ];
        let mut case = bench.case(&name, metrics, &contenders, |who, round| {
            measure(bench, who, route, |target, relay| {
                let pairs = (0..connections).map(|_| target.connect(relay.addr));
                let pairs: Vec<_> = pairs.collect::<Result<_>>()?;
                if round == 0 {
                    // Not a multiple of any buffer size.
                    stream::compare(&pairs[0], &file, size - 4321)?;
                }
                let times = (WARMUP, bench.window(round));
                stream::stream(&pairs, &file, size, times, &|| relay.cpu()).map(|all| sample(&all))
            })
        })?;
        let remarks = remarks(&case.rows);
        case.remarks.extend(remarks);
        cases.push(case);
    }
    remove(&path)?;
    Ok(cases)
}

fn sample(all: &Streamed) -> Sample {
    let (bytes, seconds) = (all.bytes as f64, all.seconds);
    Sample::of([
        (RATE, bytes / 1e9 / seconds),
        (CPU_PER_GB, all.relay_cpu_s * 1e9 / bytes),
        (RELAY_BUSY, all.relay_cpu_s * 100.0 / seconds),
        (ENDS_BUSY, all.ends_cpu_s * 100.0 / seconds),
        ("bytes", bytes),
        ("seconds", seconds),
        ("relay CPU s", all.relay_cpu_s),
        ("ends CPU s", all.ends_cpu_s),
    ])
}

/// A remark if the relay did not limit the rate, but the ends did.
fn remarks(rows: &[Row]) -> Vec<String> {
    let ends = "the ends may be the limit of the rate, they used nearly all of their processor";
    let ends = warning(rows, ENDS_BUSY, |busy| busy > ENDS_LIMIT, ends);
    [ends, noise(rows, CPU_PER_GB)]
        .into_iter()
        .flatten()
        .collect()
}
