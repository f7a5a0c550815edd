//! The parts of a record that every format shows: tables as rows of cells, and the verdicts on the
//! goals.

use crate::record::{Better, Case, Judged, Metric, Record, Row, Side, judge};
use crate::stats::Summary;
use crate::table::Table;

/// The file in which people explain the numbers, if they do.
pub(super) const NOTES: &str = "README.md";

/// The content of a folder.
pub(super) struct Told<'a> {
    pub(super) records: &'a [Record],
    /// Scenarios that were not run.
    pub(super) missing: Vec<&'a str>,
    pub(super) machine: &'a str,
    /// Whether there are notes beside it.
    pub(super) notes: bool,
}

/// The cells of one case. A row without numbers has its name and the reason.
pub(super) struct Grid {
    pub(super) headings: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// The text on standard output, printed as soon as a scenario is done.
pub(super) fn text(record: &Record) -> String {
    let scenario = &record.scenario;
    let took = took(record);
    let heading = format!("== {}: {} ({took})\n", scenario.name, scenario.what);
    let of_case = |case: &Case| {
        let remarks = case.remarks.iter().map(|remark| remark.clone() + "\n");
        format!("\n{}{}", grid(case).table(), remarks.collect::<String>())
    };
    let cases: String = record.cases.iter().map(of_case).collect();
    let judged = judge(record);
    if judged.is_empty() {
        return heading + &cases;
    }
    format!("{heading}{cases}\n{}", goals(&judged).table())
}

/// The median of each metric, with its spread if it decides something; then ours divided by the
/// row, by the first metric.
pub(super) fn grid(case: &Case) -> Grid {
    let ours = case.rows.iter().find(|row| row.side == Side::Ours);
    let first = case
        .metrics
        .first()
        .filter(|metric| metric.better != Better::Neither);
    let told: Vec<_> = case
        .metrics
        .iter()
        .filter(|metric| is_told(case, metric))
        .collect();
    let routes = case.rows.iter().any(|row| !row.routes().is_empty());
    let mut headings = vec![case.name.clone()];
    for metric in &told {
        headings.push(metric.name.clone());
        if metric.better != Better::Neither {
            headings.push("min–max".to_owned());
        }
    }
    headings.extend(first.map(|_| "ours ÷".to_owned()));
    headings.extend(routes.then(|| "route".to_owned()));
    let row = |row: &Row| {
        let mut cells = vec![row.name.clone()];
        if let Some(why) = row.missing() {
            cells.push(why);
            return cells;
        }
        for metric in &told {
            let all = row.summary(metric);
            cells.push(all.map_or("–".to_owned(), |all| metric.write(all.median)));
            if metric.better != Better::Neither {
                cells.push(all.map_or("–".to_owned(), |all| spread(metric, &all)));
            }
        }
        if let Some(first) = first {
            let ratio = ours.and_then(|ours| ours.rounds.ratio(&row.rounds, &first.name));
            cells.push(ratio.map_or("–".to_owned(), |all| with_interval(&all)));
        }
        if routes {
            cells.push(row.routes().join(", "));
        }
        cells
    };
    Grid {
        headings,
        rows: case.rows.iter().map(row).collect(),
    }
}

/// Formats a median with its 90 % interval in brackets: `1.10 (1.05–1.15)`.
fn with_interval(all: &Summary) -> String {
    let interval = all
        .interval
        .map(|(low, high)| format!(" ({low:.2}–{high:.2})"));
    format!("{:.2}{}", all.median, interval.unwrap_or_default())
}

pub(super) fn spread(metric: &Metric, all: &Summary) -> String {
    format!("{}–{}", metric.write(all.min), metric.write(all.max))
}

/// Whether any row has the metric.
fn is_told(case: &Case, metric: &Metric) -> bool {
    case.rows.iter().any(|row| row.summary(metric).is_some())
}

pub(super) fn goals(judged: &[Judged]) -> Grid {
    let headings = ["goal", "wanted", "measured", "90 % interval", "verdict"];
    let row = |goal: &Judged| {
        let (median, interval) = goal.measured.map_or(("–".into(), "–".into()), |all| {
            let interval = all
                .interval
                .map(|(low, high)| format!("{low:.2}–{high:.2}"));
            let interval = interval.unwrap_or_else(|| "too few rounds".to_owned());
            (format!("{:.3}", all.median), interval)
        });
        let verdict = goal.verdict().to_owned();
        let what = format!("{}: {}", goal.case, goal.what);
        vec![what, goal.wanted.clone(), median, interval, verdict]
    };
    Grid {
        headings: headings.map(str::to_owned).to_vec(),
        rows: judged.iter().map(row).collect(),
    }
}

/// How a record was made and how long that took: "5 rounds of 2 s, 9 min".
pub(super) fn took(record: &Record) -> String {
    let scenario = &record.scenario;
    let each = if scenario.seconds > 0.0 {
        format!(" of {} s", scenario.seconds)
    } else {
        String::new()
    };
    let took = match record.took_s {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    };
    let rows = record.cases.iter().flat_map(|case| &case.rows);
    let most = rows.map(|row| row.rounds.samples().count()).max();
    let rounds = match (scenario.rounds as usize, most.unwrap_or_default()) {
        (1, 0..=1) => "1 round".to_owned(),
        (rounds, most) if rounds >= most => format!("{rounds} rounds"),
        (rounds, most) => format!("{rounds} to {most} rounds"),
    };
    format!("{rounds}{each}, interleaved, after one uncounted; {took} in all")
}

impl Grid {
    fn table(&self) -> Table {
        let headings: Vec<_> = self.headings.iter().map(String::as_str).collect();
        let mut table = Table::new(&headings);
        for row in &self.rows {
            table.row(row.iter().cloned());
        }
        table
    }
}
