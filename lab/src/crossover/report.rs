//! Prints the result of `lab crossover`: a table for people, or every sample for programs.

use std::path::Path;

use serde_json::json;

use super::{Cost, Row};
use crate::error::Result;
use crate::header::{Header, noisy};
use crate::stats::{Summary, ratios};
use crate::table::Table;
use crate::{output, size};

/// Below this ratio, sendfile counts as cheaper. On the development machine, the medians of equal
/// sizes moved by up to 0.03 between runs (2 KiB: 0.97, 1.02, 1.03). With a limit of 1.0, the
/// result was 512 B in one run and 4 KiB in the next.
const CLEARLY: f64 = 0.95;

/// Prints the table and the crossing point, and writes every sample to the file `json`.
pub(super) fn print(json: Option<&Path>, header: &Header, rows: &[Row]) -> Result<()> {
    let cheaper = crossing(rows);
    output::save(
        json,
        || json!({ "header": header, "sizes": rows, "sendfile_cheaper_from": cheaper }),
    )?;
    let verdict = match cheaper {
        Some(size) => format!(
            "sendfile takes clearly (5 %) less CPU from {} on",
            size::exact(size as u64)
        ),
        None => "sendfile takes clearly less CPU at no size tried".to_owned(),
    };
    let warnings: String = warning(rows)
        .map(|warning| warning + "\n")
        .unwrap_or_default();
    output::print(&format!(
        "{header}\n{}\n{NOTE}\n{warnings}{verdict}\n",
        table(rows)
    ))
}

const NOTE: &str =
    "ns a body, medians; CPU is the sending thread's own, with the kernel work done in it.
× CPU is the median over rounds of sendfile's CPU to the copy's in the same round.";

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "body",
        "copy wall",
        "sendfile wall",
        "copy CPU",
        "sendfile CPU",
        "× CPU",
        "min–max",
    ]);
    for row in rows {
        let median = |costs: &[Cost], part: fn(&Cost) -> f64| {
            let values: Vec<_> = costs.iter().map(part).collect();
            Summary::of(&values)
                .map_or("–".to_owned(), |summary| format!("{:.0}", summary.median))
        };
        let ratio = row.cpu_ratio();
        table.row([
            size::exact(row.size as u64),
            median(&row.copy, |cost| cost.wall_ns),
            median(&row.sendfile, |cost| cost.wall_ns),
            median(&row.copy, |cost| cost.cpu_ns),
            median(&row.sendfile, |cost| cost.cpu_ns),
            ratio.map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median)),
            ratio.map_or("–".to_owned(), |ratio| {
                format!("{:.2}–{:.2}", ratio.min, ratio.max)
            }),
        ]);
    }
    table
}

impl Row {
    fn cpu_ratio(&self) -> Option<Summary> {
        let cpu = |costs: &[Cost]| costs.iter().map(|cost| cost.cpu_ns).collect::<Vec<_>>();
        Summary::of(&ratios(&cpu(&self.sendfile), &cpu(&self.copy)))
    }
}

/// The smallest size from which on sendfile is clearly cheaper at every size.
fn crossing(rows: &[Row]) -> Option<usize> {
    let cheaper = |row: &&Row| row.cpu_ratio().is_some_and(|ratio| ratio.median < CLEARLY);
    rows.iter()
        .rev()
        .take_while(cheaper)
        .last()
        .map(|row| row.size)
}

/// A warning if the measurement was noisy. The copy of the largest body is the steadiest number
/// here.
fn warning(rows: &[Row]) -> Option<String> {
    let cpu: Vec<_> = rows.last()?.copy.iter().map(|cost| cost.cpu_ns).collect();
    noisy("the copy of the largest body", &Summary::of(&cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ratios: &[f64]) -> Vec<Row> {
        let cost = |cpu_ns| {
            vec![Cost {
                wall_ns: 1.0,
                cpu_ns,
            }]
        };
        let row = |(index, &ratio): (usize, &f64)| Row {
            size: 512 << index,
            copy: cost(1.0),
            sendfile: cost(ratio),
        };
        ratios.iter().enumerate().map(row).collect()
    }

    #[test]
    fn the_crossing_is_where_sendfile_stays_cheaper() {
        assert_eq!(crossing(&rows(&[1.5, 1.2, 0.9, 0.5])), Some(2048));
        assert_eq!(
            crossing(&rows(&[0.9, 1.2, 0.9, 0.5])),
            Some(2048),
            "one lucky small size is not the crossing"
        );
        assert_eq!(crossing(&rows(&[0.9, 0.8])), Some(512));
        assert_eq!(crossing(&rows(&[0.99, 0.8])), Some(1024), "1 % is noise");
        assert_eq!(crossing(&rows(&[0.9, 1.1])), None);
        assert_eq!(crossing(&[]), None);
    }
}
