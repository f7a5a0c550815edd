//! From which message size splicing takes less CPU or time than copying through a buffer.

use std::path::Path;

use serde_json::{Value, json};

use super::contenders::{Contender, Start, ours};
use super::message::{self, Pinged};
use super::pair::Target;
use super::running::Running;
use super::{Bench, Section, check_route};
use crate::error::Result;
use crate::http::series::{self, Measure, Series};
use crate::size;
use crate::table::Table;

const COPYING: &str = "read-write";
const SPLICING: &str = "splice";
const SIZES: &[usize] = &[64, 256, 1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10, 128 << 10, 256 << 10];

const LATENCY: Measure<Pinged> = |pinged| pinged.p50_us;
const CPU: Measure<Pinged> = |pinged| pinged.relay_cpu_s * 1e6 / pinged.trips as f64;

const NOTE: &str = "A trip is one message through the relay and back. p50 is its median time, CPU the relay's for it, in µs; × is splice's over
read-write's, the median over rounds of the ratio in the same round.
";

/// underpass with either route.
pub(super) fn contenders(underpass: Option<&Path>) -> Vec<Contender> {
    let row = |name| Contender {
        name,
        start: ours(underpass, Some(name)),
    };
    vec![row(COPYING), row(SPLICING)]
}

pub(super) fn run(bench: &Bench) -> Result<Section> {
    let mut table = Table::new(&[
        "message", "p50 read-write", "p50 splice", "×", "min–max", "CPU read-write", "CPU splice", "×", "min–max",
    ]);
    let (mut sizes, mut void) = (Vec::new(), Vec::new());
    for &bytes in SIZES {
        let name = size::exact(bytes as u64);
        let rows = bench.interleave(&name, |_| true, |start, _| measure(bench, start, bytes))?;
        void.extend(series::void(&name, &rows));
        table.row(cells(&name, &rows));
        let routes: Value = rows.iter().map(Series::to_json).collect();
        sizes.push(json!({ "size": bytes, "routes": routes }));
    }
    Ok(Section {
        text: format!("{table}{NOTE}"),
        json: json!(sizes),
        void,
    })
}

fn cells(name: &str, rows: &[Series<Pinged>]) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    for measure in [LATENCY, CPU] {
        for route in [COPYING, SPLICING] {
            let median = series::summary(rows, route, measure);
            cells.push(median.map_or("–".to_owned(), |all| format!("{:.1}", all.median)));
        }
        let ratio = series::ratio(rows, SPLICING, COPYING, measure);
        cells.push(ratio.map_or("–".to_owned(), |all| format!("{:.2}", all.median)));
        cells.push(ratio.map_or("–".to_owned(), |all| format!("{:.2}–{:.2}", all.min, all.max)));
    }
    cells
}

fn measure(bench: &Bench, start: &Start, bytes: usize) -> Result<Pinged> {
    let target = Target::listen()?;
    let mut relay = Running::start(start, target.addr()?)?;
    let measured = bench.on_the_ends_side(|| {
        let pair = target.connect(relay.addr)?;
        message::ping(&pair, bytes, bench.times(), &|| relay.cpu())
    });
    let checked = measured.and_then(|measured| {
        // One of the two was forced, and no byte goes by the other.
        let pure = |all: super::Carried| {
            all.spliced.max(all.copied) as f64 / (all.spliced + all.copied) as f64
        };
        check_route(&relay, pure, "the route that was asked for")?;
        Ok(measured)
    });
    relay.explain(checked)
}
