//! Throughput and CPU time of connections that are always full.

use std::fs::File;

use serde_json::{Value, json};

use super::contenders::{HAPROXY, Start, UNDERPASS};
use super::pair::Target;
use super::running::Running;
use super::stream::{self, Streamed};
use super::{Bench, Section, check_route};
use crate::error::{Context, Result};
use crate::http::goal::{self, Goal, Wanted};
use crate::http::series::{self, Measure, Series};
use crate::table::Table;
use crate::testfile;

const CONNECTIONS: &[usize] = &[1, 32];
/// Sent over and over.
const SIZE: u64 = 8 << 20;
/// Compared, there and back: no multiple of anything.
const COMPARED: u64 = (7 << 20) + 4321;

const RATE: Measure<Streamed> = |s| s.bytes as f64 / 1e9 / s.seconds;
const CPU_PER_GB: Measure<Streamed> = |s| s.relay_cpu_s * 1e9 / s.bytes as f64;
const BUSY: Measure<Streamed> = |s| s.relay_cpu_s * 100.0 / s.seconds;
const ENDS_BUSY: Measure<Streamed> = |s| s.ends_cpu_s * 100.0 / s.seconds;

const NOTE: &str = "GB/s: 10^9 bytes that clients got in the window, a second. CPU is user + system of all the relay's threads and children.
× is the median over rounds of the ratio to HAProxy, splicing, in the same round. busy: relay / ends, in % of their processors.
";

pub(super) fn run(bench: &Bench) -> Result<Section> {
    let place = bench.options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&place, SIZE)?;
    let dir = testfile::work_dir(&place)?;
    let path = testfile::make(dir.path(), "hot", SIZE)?;
    let file = File::open(&path).context(|| format!("cannot open {}", path.display()))?;
    let (mut tables, mut goals, mut void) = (Vec::new(), Vec::new(), Vec::new());
    let mut loads = Vec::new();
    for &connections in CONNECTIONS {
        let name = format!("bulk, {connections} connections").replace("1 connections", "1 connection");
        let rows = bench.interleave(&name, |_| true, |start, round| {
            measure(bench, start, round, &file, connections)
        })?;
        tables.push(table(&name, &rows).to_string());
        goals.extend(self::goals(&name, &rows));
        void.extend(series::void(&name, &rows));
        let relays: Value = rows.iter().map(Series::to_json).collect();
        loads.push(json!({ "connections": connections, "relays": relays }));
    }
    Ok(Section {
        text: format!("{}\n{}{NOTE}", tables.join("\n"), goal::table(&goals)),
        json: json!({ "loads": loads, "goals": goal::to_json(&goals) }),
        void,
    })
}

fn measure(
    bench: &Bench,
    start: &Start,
    round: u32,
    file: &File,
    connections: usize,
) -> Result<Streamed> {
    let target = Target::listen()?;
    let mut relay = Running::start(start, target.addr()?)?;
    let measured = bench.on_the_ends_side(|| {
        let pairs = (0..connections).map(|_| target.connect(relay.addr));
        let pairs: Vec<_> = pairs.collect::<Result<_>>()?;
        if round == 0 {
            stream::compare(&pairs[0], file, COMPARED)?;
        }
        stream::stream(&pairs, file, SIZE, bench.times(), &|| relay.cpu())
    });
    let spliced = |all: super::Carried| all.spliced as f64 / (all.spliced + all.copied) as f64;
    let checked = measured.and_then(|measured| {
        check_route(&relay, spliced, "splice")?;
        Ok(measured)
    });
    relay.explain(checked)
}

fn table(name: &str, rows: &[Series<Streamed>]) -> Table {
    let mut table = Table::new(&[
        name, "GB/s", "min–max", "CPU s/GB", "min–max", "× GB/s", "× CPU/GB", "busy",
    ]);
    for row in rows {
        let ratio = |measure| {
            series::ratio(rows, row.name, HAPROXY, measure)
                .map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median))
        };
        table.row(row.row(|| {
            Some(vec![
                row.median(RATE, 2),
                row.spread(RATE, 2),
                row.median(CPU_PER_GB, 3),
                row.spread(CPU_PER_GB, 3),
                ratio(RATE),
                ratio(CPU_PER_GB),
                format!("{} / {}", row.median(BUSY, 0), row.median(ENDS_BUSY, 0)),
            ])
        }));
    }
    table
}

fn goals(name: &str, rows: &[Series<Streamed>]) -> [Goal; 2] {
    let goal = |what: &str, wanted, measure| {
        let measured = series::ratio(rows, UNDERPASS, HAPROXY, measure);
        Goal::new(format!("{name}: {what} of underpass ÷ HAProxy, splicing"), wanted, measured)
    };
    [
        goal("GB/s", Wanted::AtLeast(1.1), RATE),
        goal("CPU/GB", Wanted::AtMost(0.9), CPU_PER_GB),
    ]
}
