//! Throughput and CPU time of one large hot file, one connection.

use serde_json::{Value, json};

use super::goal::{self, Goal, Wanted};
use super::load::Window;
use super::series::{self, CPU_PER_GB, Measure, RATE, Series};
use super::servers::{BARE, LIGHTTPD, NGINX, TOWER_HTTP, UNDERPASS};
use super::small::start_with;
use super::{Bench, Section, WARMUP, check, remove};
use crate::error::Result;
use crate::header::noisy;
use crate::size;
use crate::stats::Summary;
use crate::table::Table;

const NAME: &str = "big";
const NOTE: &str = "GB/s: 10^9 bytes of bodies that arrived in the window, a second. CPU is user + system of all the server's threads.
× nginx is the median over rounds of the ratio to nginx with sendfile on in the same round. busy: server / load, in % of
their processors.
";

pub(super) fn run(bench: &Bench) -> Result<Section> {
    let size = bench.options.size;
    let file = bench.file(NAME, size)?;
    let rows = bench.interleave(
        NAME,
        |_| true,
        |start, round| {
            let (mut server, load) = start_with(bench, start, NAME, size, 1)?;
            if round == 0 {
                server.explain(check::content(&load, &file))?;
            }
            let load_side = || load.run(WARMUP, bench.window(), &|| server.cpu());
            let window = bench.on_load_side(load_side);
            server.explain(window)?.some_arrived()
        },
    )?;
    remove(&file)?;
    let goals = goals(&rows);
    Ok(Section {
        text: format!("{}\n{}{NOTE}", text(size, &rows), goal::table(&goals)),
        json: json!({
            "size": size,
            "servers": rows.iter().map(Series::to_json).collect::<Value>(),
            "goals": goal::to_json(&goals),
        }),
        void: series::void(NAME, &rows),
    })
}

fn text(size: u64, rows: &[Series<Window>]) -> String {
    let heading = format!("{}, 1 connection", size::exact(size));
    let mut table = Table::new(&[
        &heading,
        "GB/s",
        "min–max",
        "CPU s/GB",
        "min–max",
        "× GB/s",
        "× CPU/GB",
        "busy",
    ]);
    for row in rows {
        let ratio = |measure| {
            series::ratio(rows, row.name, NGINX, measure)
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
                row.busy(),
            ])
        }));
    }
    let bare = series::find(rows, BARE).and_then(|bare| bare.rounds.summary(RATE));
    let noise = bare.and_then(|rate| noisy("the bare loop", &rate));
    let warnings: String = rows.iter().filter_map(Series::warning).collect();
    format!(
        "{table}{warnings}{}",
        noise.map_or(String::new(), |line| line + "\n")
    )
}

fn goals(rows: &[Series<Window>]) -> Vec<Goal> {
    let over = |base, measure: Measure<Window>| series::ratio(rows, UNDERPASS, base, measure);
    let goal = |what: &str, wanted, measured: Option<Summary>| Goal::new(what, wanted, measured);
    vec![
        goal(
            "GB/s of underpass ÷ nginx",
            Wanted::AtLeast(1.4),
            over(NGINX, RATE),
        ),
        goal(
            "CPU/GB of underpass ÷ nginx",
            Wanted::AtMost(0.7),
            over(NGINX, CPU_PER_GB),
        ),
        goal(
            "GB/s of underpass ÷ lighttpd",
            Wanted::AtLeast(1.0),
            over(LIGHTTPD, RATE),
        ),
        goal(
            "GB/s of underpass ÷ bare loop",
            Wanted::AtLeast(0.95),
            over(BARE, RATE),
        ),
        goal(
            "CPU/GB of axum + tower-http ÷ underpass",
            Wanted::AtLeast(4.0),
            series::ratio(rows, TOWER_HTTP, UNDERPASS, CPU_PER_GB),
        ),
    ]
}
