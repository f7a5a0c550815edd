//! What underpass is to reach, and whether it did.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::stats::Summary;
use crate::table::Table;

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Wanted {
    AtLeast(f64),
    AtMost(f64),
}

/// One goal. Judged by the median: the spread beside it says how sure that is.
pub(crate) struct Goal {
    pub(crate) what: String,
    pub(crate) wanted: Wanted,
    pub(crate) measured: Option<Summary>,
}

impl Wanted {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(limit) => value >= limit,
            Self::AtMost(limit) => value <= limit,
        }
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit) => write!(f, "≥ {limit}"),
            Self::AtMost(limit) => write!(f, "≤ {limit}"),
        }
    }
}

impl Goal {
    pub(crate) fn new(what: impl Into<String>, wanted: Wanted, measured: Option<Summary>) -> Self {
        Self {
            what: what.into(),
            wanted,
            measured,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.measured {
            None => "not measured",
            Some(all) if self.wanted.is_met(all.median) => "met",
            Some(_) => "NOT MET",
        }
    }
}

pub(crate) fn table(goals: &[Goal]) -> Table {
    let mut table = Table::new(&["goal", "wanted", "measured", "min–max", "verdict"]);
    for goal in goals {
        let (median, spread) = goal.measured.map_or(("–".into(), "–".into()), |all| {
            let spread = format!("{:.2}–{:.2}", all.min, all.max);
            (format!("{:.3}", all.median), spread)
        });
        let wanted = goal.wanted.to_string();
        let verdict = goal.verdict().to_owned();
        table.row([goal.what.clone(), wanted, median, spread, verdict]);
    }
    table
}

pub(crate) fn to_json(goals: &[Goal]) -> Value {
    let one = |goal: &Goal| {
        json!({
            "goal": goal.what,
            "wanted": goal.wanted,
            "measured": goal.measured,
            "verdict": goal.verdict(),
        })
    };
    goals.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_itself_is_met_and_nothing_measured_is_not_a_verdict() {
        let verdict = |wanted, samples: &[f64]| {
            Goal::new("x", wanted, Summary::of(samples))
                .verdict()
                .to_owned()
        };
        assert_eq!(verdict(Wanted::AtLeast(1.1), &[1.1]), "met");
        assert_eq!(verdict(Wanted::AtLeast(1.1), &[1.09]), "NOT MET");
        assert_eq!(verdict(Wanted::AtMost(2.0), &[2.0]), "met");
        assert_eq!(verdict(Wanted::AtMost(2.0), &[2.1]), "NOT MET");
        assert_eq!(verdict(Wanted::AtMost(2.0), &[]), "not measured");
    }
}
