//! The result of a scenario as it is kept in a run's folder. The summary is made from this alone.

mod case;
mod goals;
mod rounds;
mod sample;

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub(crate) use self::case::{BEFORE, Better, Case, Metric, Row, Side, noise, warning};
pub(crate) use self::goals::{Comparison, Judged, comparisons, judge};
pub(crate) use self::rounds::{Rounds, in_turn};
pub(crate) use self::sample::Sample;
use crate::error::{Context, Result};
use crate::header::Header;
use crate::scenario::Scenario;

/// The result of one scenario.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// The scenario as it was run: in a quick run, with fewer and shorter rounds.
    pub(crate) scenario: Scenario,
    /// Whether this was a quick run, whose numbers must not be quoted.
    pub(crate) quick: bool,
    pub(crate) header: Header,
    pub(crate) took_s: f64,
    pub(crate) cases: Vec<Case>,
}

impl Record {
    /// The path of a scenario's record in a run's folder.
    pub(crate) fn path(dir: &Path, scenario: &str) -> PathBuf {
        dir.join(format!("{scenario}.json"))
    }

    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).context(|| format!("{} is not a record", path.display()))
    }

    /// Rows that do not count, each with its case.
    pub(crate) fn void(&self) -> Vec<String> {
        let of_case = |case: &Case| {
            let void = case.rows.iter().filter(|row| row.rounds.void().is_some());
            let named = |row: &Row| format!("{}, {}: {}", self.scenario.name, case.name, row.name);
            void.map(named).collect::<Vec<_>>()
        };
        self.cases.iter().flat_map(of_case).collect()
    }
}

/// An example of a record: with a void rival, an absent one, and a bare loop.
#[cfg(test)]
pub(crate) const FIXTURE: &str = include_str!("../../tests/rivals/record.json");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    #[test]
    fn every_run_that_is_kept_can_be_read() {
        let runs = Path::new(env!("CARGO_MANIFEST_DIR")).join("runs");
        let scenarios = scenario::all().unwrap();
        let mut read = 0;
        for run in fs::read_dir(runs).unwrap() {
            let run = run.unwrap().path();
            // Older runs have no records of scenarios.
            if !run.join("summary.md").exists() {
                continue;
            }
            let paths = scenarios.iter().map(|one| Record::path(&run, &one.name));
            for path in paths.filter(|path| path.exists()) {
                Record::read(&path).unwrap_or_else(|error| panic!("{error}"));
                read += 1;
            }
        }
        assert!(read > 20, "{read} records");
    }
}
