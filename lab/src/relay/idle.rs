//! What relayed connections that have nothing to do keep in memory.

use serde::Serialize;
use serde_json::{Value, json};

use super::contenders::{BARE, SOCAT, Start, UNDERPASS};
use super::pair::{MESSAGE, Target};
use super::running::Running;
use super::{Bench, Section};
use crate::error::Result;
use crate::http::goal::{self, Goal, Wanted};
use crate::http::idle::allow_files;
use crate::http::series::{self, Measure, Series};
use crate::table::Table;

const CONNECTIONS: usize = 5_000;
const NAME: &str = "idle";
/// Descriptors that either side needs besides.
const OTHER_FILES: usize = 500;
const NOTE: &str = "VmRSS of the relay, with connections of which each has passed on a message there and back, and passes on another afterwards.
What the kernel keeps for sockets and pipes is not in it. socat, a process a connection, and the bare loop, two threads a connection, are not made for
so many.
";

/// Resident memory with one connection, and with all.
#[derive(Debug, Serialize)]
struct Sample {
    one_kib: u64,
    all_kib: u64,
    connections: usize,
}

const ALL: Measure<Sample> = |sample| sample.all_kib as f64 / 1024.0;
const EACH: Measure<Sample> =
    |sample| sample.all_kib.saturating_sub(sample.one_kib) as f64 / sample.connections as f64;

pub(super) fn run(bench: &Bench) -> Result<Section> {
    allow_files((2 * CONNECTIONS + OTHER_FILES) as u64)?;
    let wanted = |name: &str| ![SOCAT, BARE].contains(&name);
    let rows = bench.interleave(NAME, wanted, |start, _| measure(bench, start))?;
    let measured = series::summary(&rows, UNDERPASS, ALL);
    let what = format!("resident MiB of underpass with {CONNECTIONS} idle connections");
    let goals = [Goal::new(what, Wanted::AtMost(64.0), measured)];
    Ok(Section {
        text: format!("{}\n{}{NOTE}", table(&rows), goal::table(&goals)),
        json: json!({
            "connections": CONNECTIONS,
            "relays": rows.iter().map(Series::to_json).collect::<Value>(),
            "goals": goal::to_json(&goals),
        }),
        void: series::void(NAME, &rows),
    })
}

fn measure(bench: &Bench, start: &Start) -> Result<Sample> {
    let target = Target::listen()?;
    let mut relay = Running::start(start, target.addr()?)?;
    let measured = bench.on_the_ends_side(|| {
        let mut pairs = vec![target.connect(relay.addr)?];
        let one_kib = relay.resident_kib()?;
        while pairs.len() < CONNECTIONS {
            pairs.push(target.connect(relay.addr)?);
        }
        let all_kib = relay.resident_kib()?;
        // Whoever closed idle connections to save memory is not compared.
        for pair in &pairs {
            pair.there_and_back(&[b'i'; MESSAGE], &mut [0; MESSAGE])?;
        }
        Ok(Sample {
            one_kib,
            all_kib,
            connections: CONNECTIONS,
        })
    });
    relay.explain(measured)
}

fn table(rows: &[Series<Sample>]) -> Table {
    let heading = format!("{CONNECTIONS} idle connections");
    let mut table = Table::new(&[&heading, "MiB", "min–max", "MiB with one", "KiB each"]);
    for row in rows {
        table.row(row.row(|| {
            Some(vec![
                row.median(ALL, 1),
                row.spread(ALL, 1),
                row.median(|sample| sample.one_kib as f64 / 1024.0, 1),
                row.median(EACH, 2),
            ])
        }));
    }
    table
}
