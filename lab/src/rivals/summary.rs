//! What is told of a record in every form: tables as rows of cells, and how the goals stand.

use crate::record::{Better, Case, Judged, Metric, Record, Row, Side, judge};
use crate::stats::Summary;
use crate::table::Table;

/// Where people write down what is behind the numbers, if they do.
pub(super) const NOTES: &str = "README.md";

/// What a folder holds.
pub(super) struct Told<'a> {
    pub(super) records: &'a [Record],
    /// Scenarios that were not run.
    pub(super) missing: Vec<&'a str>,
    pub(super) machine: &'a str,
    /// There are notes beside it.
    pub(super) notes: bool,
}

/// The cells of one case; a row without numbers has its name and the reason.
pub(super) struct Grid {
    pub(super) headings: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
}

/// On standard output, as soon as a scenario is done.
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

/// Each metric's median and, where it decides anything, its spread; then what ours is over the row, by the first metric.
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
            cells.push(ratio.map_or("–".to_owned(), |all| format!("{:.2}", all.median)));
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

pub(super) fn spread(metric: &Metric, all: &Summary) -> String {
    format!("{}–{}", metric.write(all.min), metric.write(all.max))
}

/// Whether anybody has it.
fn is_told(case: &Case, metric: &Metric) -> bool {
    case.rows.iter().any(|row| row.summary(metric).is_some())
}

pub(super) fn goals(judged: &[Judged]) -> Grid {
    let headings = ["goal", "wanted", "measured", "min–max", "verdict"];
    let row = |goal: &Judged| {
        let (median, spread) = goal.measured.map_or(("–".into(), "–".into()), |all| {
            let spread = format!("{:.2}–{:.2}", all.min, all.max);
            (format!("{:.3}", all.median), spread)
        });
        let verdict = goal.verdict().to_owned();
        let what = format!("{}: {}", goal.case, goal.what);
        vec![what, goal.wanted.clone(), median, spread, verdict]
    };
    Grid {
        headings: headings.map(str::to_owned).to_vec(),
        rows: judged.iter().map(row).collect(),
    }
}

/// How long it took and how: "5 rounds of 2 s, 9 min".
pub(super) fn took(record: &Record) -> String {
    let scenario = &record.scenario;
    let plural = if scenario.rounds == 1 { "" } else { "s" };
    let each = if scenario.seconds > 0.0 {
        format!(" of {} s", scenario.seconds)
    } else {
        String::new()
    };
    let took = match record.took_s {
        seconds if seconds < 100.0 => format!("{seconds:.0} s"),
        seconds => format!("{:.0} min", seconds / 60.0),
    };
    let rounds = scenario.rounds;
    format!("{rounds} round{plural}{each}, interleaved, after one uncounted; {took} in all")
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
