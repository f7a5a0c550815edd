//! Requests a second for hot files, 32 keep-alive connections at a time.

use serde_json::{Value, json};

use super::goal::{self, Goal, Wanted};
use super::load::{Load, Window};
use super::running::Running;
use super::series::{self, CPU_PER_REQUEST, REQUESTS, Series};
use super::servers::{BARE, NGINX, Start, UNDERPASS};
use super::{Bench, Section, WARMUP, check};
use crate::error::Result;
use crate::size;
use crate::table::Table;

const CONNECTIONS: usize = 32;
/// Sizes, and what underpass is to serve of them against the best rival.
const SIZES: &[(u64, f64)] = &[
    (1 << 10, 1.1),
    (4 << 10, 1.1),
    (16 << 10, 1.0),
    (100 << 10, 1.0),
    (1 << 20, 1.0),
];

pub(super) fn run(bench: &Bench) -> Result<Section> {
    let (mut tables, mut void) = (Vec::new(), Vec::new());
    let (mut goals, mut sizes) = (Vec::new(), Vec::new());
    for &(size, wanted) in SIZES {
        let rows = of_size(bench, size)?;
        let name = size::exact(size);
        tables.push(text(&name, &rows));
        void.extend(series::void(&name, &rows));
        goals.push(goal(&name, wanted, &rows));
        let servers: Value = rows.iter().map(Series::to_json).collect();
        sizes.push(json!({ "size": size, "servers": servers }));
    }
    Ok(Section {
        text: format!("{}\n{}{NOTE}", tables.join("\n"), goal::table(&goals)),
        json: json!({ "sizes": sizes, "goals": goal::to_json(&goals) }),
        void,
    })
}

const NOTE: &str = "requests/s are medians over rounds; CPU is user + system of all the server's threads, in the window.
× nginx is the median over rounds of the ratio to nginx with sendfile on in the same round. busy: server / load, in % of
their processors.
";

fn of_size(bench: &Bench, size: u64) -> Result<Vec<Series<Window>>> {
    let name = format!("small-{size}");
    let file = bench.file(&name, size)?;
    // The bare loop serves one connection at a time.
    bench.interleave(
        &size::exact(size),
        |server| server != BARE,
        |start, round| {
            let (mut server, load) = start_with(bench, start, &name, size, CONNECTIONS)?;
            if round == 0 {
                server.explain(check::content(&load, &file))?;
            }
            let load_side = || load.run(WARMUP, bench.window(), &|| server.cpu());
            let window = bench.on_load_side(load_side);
            server.explain(window)?.some_arrived()
        },
    )
}

/// A server, and the load for one of its files.
pub(super) fn start_with(
    bench: &Bench,
    start: &Start,
    name: &str,
    size: u64,
    connections: usize,
) -> Result<(Running, Load)> {
    let server = Running::start(start, bench.root)?;
    let load = Load::new(server.addr, name, size, connections);
    Ok((server, load))
}

fn text(name: &str, rows: &[Series<Window>]) -> String {
    let heading = format!("{name}, {CONNECTIONS} connections");
    let mut table = Table::new(&[
        &heading,
        "requests/s",
        "min–max",
        "CPU µs/request",
        "p50 µs",
        "p99 µs",
        "× nginx",
        "busy",
    ]);
    for row in rows {
        let ratio = series::ratio(rows, row.name, NGINX, REQUESTS);
        table.row(row.row(|| {
            Some(vec![
                row.median(REQUESTS, 0),
                row.spread(REQUESTS, 0),
                row.median(CPU_PER_REQUEST, 2),
                row.median(|window| window.p50_us, 0),
                row.median(|window| window.p99_us, 0),
                ratio.map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median)),
                row.busy(),
            ])
        }));
    }
    let warnings: String = rows.iter().filter_map(Series::warning).collect();
    format!("{table}{warnings}")
}

/// Against the rival with the highest median.
fn goal(size: &str, wanted: f64, rows: &[Series<Window>]) -> Goal {
    let rate = |row: &Series<Window>| Some(row.rounds.summary(REQUESTS)?.median);
    let rivals = rows
        .iter()
        .filter(|row| row.name != UNDERPASS && row.rounds.void().is_none());
    let best = rivals.max_by(|a, b| rate(a).unwrap_or(0.0).total_cmp(&rate(b).unwrap_or(0.0)));
    let name = best.map_or("no rival", |best| best.name);
    let measured = series::ratio(rows, UNDERPASS, name, REQUESTS);
    Goal::new(
        format!("{size}: requests/s of underpass ÷ best rival ({name})"),
        Wanted::AtLeast(wanted),
        measured,
    )
}
