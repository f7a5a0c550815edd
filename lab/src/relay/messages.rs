//! Latency and CPU time of messages, one at a time.

use super::message::{self, Pinged};
use super::{WARMUP, contenders, measure};
use crate::bench::Bench;
use crate::error::Result;
use crate::record::{Case, Metric, Sample};
use crate::size;

const P50: &str = "p50 µs";
const P99: &str = "p99 µs";
const CPU: &str = "CPU µs";

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.chosen(contenders::all(bench.underpass))?;
    let scenario = bench.scenario;
    let mut cases = Vec::new();
    for (at, bytes) in scenario.sizes.iter().enumerate() {
        let name = format!("{} there and back", size::exact(bytes.0));
        let route = scenario.routes.get(at).map(String::as_str);
        let rows = bench.interleave(&name, &contenders, |who, start, round| {
            measure(bench, who, start, route, |target, relay| {
                let pair = target.connect(relay.addr)?;
                let times = (WARMUP, bench.window(round));
                let cpu = || relay.cpu();
                message::ping(&pair, bytes.0 as usize, times, &cpu).map(|all| sample(&all))
            })
        })?;
        cases.push(Case {
            name,
            metrics: vec![
                Metric::less(P50, 1),
                Metric::less(P99, 1),
                Metric::less(CPU, 1),
            ],
            rows,
            remarks: Vec::new(),
        });
    }
    Ok(cases)
}

fn sample(all: &Pinged) -> Sample {
    let trips = all.trips as f64;
    Sample::of([
        (P50, all.p50_us),
        (P99, all.p99_us),
        (CPU, all.relay_cpu_s * 1e6 / trips),
        ("longest µs", all.max_us),
        ("trips", trips),
        ("seconds", all.seconds),
        ("relay CPU s", all.relay_cpu_s),
    ])
}
