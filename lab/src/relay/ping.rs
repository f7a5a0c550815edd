//! Latency of small messages, one at a time.

use serde_json::{Value, json};

use super::contenders::{HAPROXY, Start, UNDERPASS};
use super::message::{self, Pinged};
use super::pair::{MESSAGE, Target};
use super::running::{Carried, Running};
use super::{Bench, Section, check_route};
use crate::error::Result;
use crate::http::goal::{self, Goal, Wanted};
use crate::http::series::{self, Measure, Series};
use crate::table::Table;

const NAME: &str = "ping";

const MEDIAN: Measure<Pinged> = |pinged| pinged.p50_us;
const CPU: Measure<Pinged> = |pinged| pinged.relay_cpu_s * 1e6 / pinged.trips as f64;

const NOTE: &str = "A trip is 64 bytes from a client through the relay to its target and back, by one thread that is both ends, so it takes two
wake-ups of the relay and two of the ends. CPU is the relay's for a trip. × is the median over rounds of the ratio of medians to HAProxy,
splicing, in the same round.
";

pub(super) fn run(bench: &Bench) -> Result<Section> {
    let rows = bench.interleave(NAME, |_| true, |start, _| measure(bench, start))?;
    let measured = series::ratio(&rows, UNDERPASS, HAPROXY, MEDIAN);
    let what = "ping: median of underpass ÷ HAProxy, splicing";
    let goals = [Goal::new(what, Wanted::AtMost(1.0), measured)];
    Ok(Section {
        text: format!("{}\n{}{NOTE}", table(&rows), goal::table(&goals)),
        json: json!({
            "relays": rows.iter().map(Series::to_json).collect::<Value>(),
            "goals": goal::to_json(&goals),
        }),
        void: series::void(NAME, &rows),
    })
}

fn measure(bench: &Bench, start: &Start) -> Result<Pinged> {
    let target = Target::listen()?;
    let mut relay = Running::start(start, target.addr()?)?;
    let measured = bench.on_the_ends_side(|| {
        let pair = target.connect(relay.addr)?;
        message::ping(&pair, MESSAGE, bench.times(), &|| relay.cpu())
    });
    let copied = |all: Carried| all.copied as f64 / (all.spliced + all.copied) as f64;
    let checked = measured.and_then(|measured| {
        check_route(&relay, copied, "read-write")?;
        Ok(measured)
    });
    relay.explain(checked)
}

fn table(rows: &[Series<Pinged>]) -> Table {
    let mut table = Table::new(&[
        "64 bytes, there and back",
        "p50 µs",
        "min–max",
        "p99 µs",
        "max µs",
        "CPU µs",
        "× p50",
        "× CPU",
    ]);
    for row in rows {
        let ratio = |measure| {
            series::ratio(rows, row.name, HAPROXY, measure)
                .map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median))
        };
        table.row(row.row(|| {
            Some(vec![
                row.median(MEDIAN, 1),
                row.spread(MEDIAN, 1),
                row.median(|pinged| pinged.p99_us, 1),
                row.median(|pinged| pinged.max_us, 0),
                row.median(CPU, 1),
                ratio(MEDIAN),
                ratio(CPU),
            ])
        }));
    }
    table
}
