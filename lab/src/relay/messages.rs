//! Latency and CPU time of messages, one at a time.

use super::message::{self, Pinged};
use super::{WARMUP, measure};
use crate::bench::Bench;
use crate::error::Result;
use crate::record::{Case, Metric, Sample};
use crate::scenario::Bytes;
use crate::size;

const P50: &str = "p50 µs";
const P99: &str = "p99 µs";
const CPU: &str = "CPU µs";

pub(crate) fn run(bench: &Bench) -> Result<Vec<Case>> {
    let contenders = bench.contenders()?;
    let scenario = bench.scenario;
    let mut cases = Vec::new();
    let alone = scenario.sizes.iter().map(std::slice::from_ref);
    let mixed = scenario.mixes.iter().map(Vec::as_slice);
    for (at, messages) in alone.chain(mixed).enumerate() {
        let name = format!("{} there and back", told(messages));
        let sizes: Vec<_> = messages.iter().map(|bytes| bytes.0 as usize).collect();
        let route = scenario.routes.get(at).map(String::as_str);
        let metrics = vec![
            Metric::less(P50, 1),
            Metric::less(P99, 1),
            Metric::less(CPU, 1),
        ];
        let case = bench.case(&name, metrics, &contenders, |who, round| {
            measure(bench, who, route, |target, relay| {
                let pair = target.connect(relay.addr)?;
                let times = (WARMUP, bench.window(round));
                let cpu = || relay.cpu();
                message::ping(&pair, &sizes, times, &cpu).map(|all| sample(&all))
            })
        })?;
        cases.push(case);
    }
    Ok(cases)
}

/// The sizes, with equal ones in a row counted: `256 KiB + 8 × 64 B`.
fn told(messages: &[Bytes]) -> String {
    let runs = messages.chunk_by(|one, other| one == other).map(|run| {
        let size = size::exact(run[0].0);
        match run.len() {
            1 => size,
            count => format!("{count} × {size}"),
        }
    });
    runs.collect::<Vec<_>>().join(" + ")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trip_is_told_in_few_words() {
        let sizes = |sizes: &[u64]| told(&sizes.iter().copied().map(Bytes).collect::<Vec<_>>());
        assert_eq!(sizes(&[64]), "64 B");
        assert_eq!(sizes(&[1 << 18, 64, 64]), "256 KiB + 2 × 64 B");
        assert_eq!(sizes(&[64, 1 << 10, 64]), "64 B + 1 KiB + 64 B");
    }
}
