//! One table of a scenario: the contenders at one size and load, and their numbers.

use serde::{Deserialize, Serialize};

use super::rounds::Rounds;
use crate::header::noisy;
use crate::stats::Summary;

/// The name of an earlier build of underpass in every table.
pub(crate) const BEFORE: &str = "underpass, before";

/// All rows of one size and load.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) metrics: Vec<Metric>,
    pub(crate) rows: Vec<Row>,
    /// Reasons to doubt the numbers, and facts that a reader needs.
    pub(crate) remarks: Vec<String>,
}

/// A number that every row has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Metric {
    /// The name, with its unit: `GB/s`, `CPU s/GB`.
    pub(crate) name: String,
    pub(crate) better: Better,
    /// Number of decimal places.
    pub(crate) digits: usize,
}

/// Whether higher or lower is better. A metric with neither is only shown in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Better {
    More,
    Less,
    Neither,
}

/// One contender.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) side: Side,
    /// Why it did not run at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) absent: Option<String>,
    pub(crate) rounds: Rounds,
}

/// The role of a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Side {
    /// underpass, used as intended.
    Ours,
    /// underpass with other options, for comparison.
    Variant,
    #[default]
    Rival,
    /// A bare loop of the best system call: the cost of the kernel itself.
    Floor,
    /// Numbers that others have published.
    Published,
}

impl Metric {
    pub(crate) fn more(name: &str, digits: usize) -> Self {
        Self::new(name, Better::More, digits)
    }

    pub(crate) fn less(name: &str, digits: usize) -> Self {
        Self::new(name, Better::Less, digits)
    }

    pub(crate) fn told(name: &str, digits: usize) -> Self {
        Self::new(name, Better::Neither, digits)
    }

    /// Formats a value with the metric's decimal places, and with commas between thousands.
    pub(crate) fn write(&self, value: f64) -> String {
        thousands(&format!("{value:.*}", self.digits))
    }

    fn new(name: &str, better: Better, digits: usize) -> Self {
        Self {
            name: name.to_owned(),
            better,
            digits,
        }
    }
}

impl Case {
    pub(crate) fn row(&self, name: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.name == name)
    }

    /// The best rival by the median. Rows that are void or absent do not count.
    pub(crate) fn best_rival(&self, metric: &Metric) -> Option<&Row> {
        let median = |row: &Row| row.summary(metric).map(|all| all.median);
        let rivals = self.rows.iter().filter(|row| row.side == Side::Rival);
        let told = rivals.filter_map(|row| Some((median(row)?, row)));
        let best = match metric.better {
            Better::More => told.max_by(|a, b| a.0.total_cmp(&b.0)),
            Better::Less => told.min_by(|a, b| a.0.total_cmp(&b.0)),
            Better::Neither => None,
        };
        best.map(|(_, row)| row)
    }
}

/// The warning that begins with the names of the rows whose median of `metric` is doubtful.
pub(crate) fn warning(
    rows: &[Row],
    metric: &str,
    is_doubtful: impl Fn(f64) -> bool,
    text: &str,
) -> Option<String> {
    let doubtful = |row: &Row| {
        let median = row.rounds.summary(metric)?.median;
        is_doubtful(median).then(|| format!("{} ({median:.0} %)", row.name))
    };
    let rows: Vec<_> = rows.iter().filter_map(doubtful).collect();
    (!rows.is_empty()).then(|| format!("WARNING: {text}: {}.", rows.join(", ")))
}

/// The warning that the bare loop, which everything is compared with, varied too much in `metric`.
pub(crate) fn noise(rows: &[Row], metric: &str) -> Option<String> {
    let floor = rows.iter().find(|row| row.side == Side::Floor)?;
    noisy(&floor.name, &floor.rounds.summary(metric)?)
}

impl Row {
    pub(crate) fn summary(&self, metric: &Metric) -> Option<Summary> {
        self.rounds.summary(&metric.name)
    }

    /// Why there are no numbers, if there are none.
    pub(crate) fn missing(&self) -> Option<String> {
        let absent = self.absent.as_ref().map(|why| format!("absent: {why}"));
        absent.or_else(|| self.rounds.void().map(|why| format!("VOID: {why}")))
    }

    /// The routes that its bytes took, in all runs together.
    pub(crate) fn routes(&self) -> Vec<&str> {
        let told = self.rounds.samples().flat_map(|sample| &sample.routes);
        let mut routes: Vec<_> = told
            .filter(|(_, bytes)| **bytes > 0)
            .map(|(route, _)| route.as_str())
            .collect();
        routes.sort_unstable();
        routes.dedup();
        routes
    }
}

/// Formats `12345.6` as `12,345.6`.
fn thousands(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let mut text = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let before = whole.len() - at;
        if at > 0 && before % 3 == 0 && digit.is_ascii_digit() && !text.ends_with('-') {
            text.push(',');
        }
        text.push(digit);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::record::Sample;

    fn row(name: &str, side: Side, value: Option<f64>) -> Row {
        let mut rounds = Rounds::default();
        let sample = value.map(|value| Sample::of([("x", value)]));
        rounds.record(1, sample.ok_or_else(|| Error::new("broken")));
        Row {
            name: name.to_owned(),
            side,
            absent: None,
            rounds,
        }
    }

    #[test]
    fn the_best_rival_is_no_floor_and_not_void() {
        let case = Case {
            name: "c".to_owned(),
            metrics: Vec::new(),
            rows: vec![
                row("ours", Side::Ours, Some(9.0)),
                row("floor", Side::Floor, Some(8.0)),
                row("void", Side::Rival, None),
                row("slow", Side::Rival, Some(1.0)),
                row("fast", Side::Rival, Some(2.0)),
            ],
            remarks: Vec::new(),
        };
        let best = |metric: Metric| case.best_rival(&metric).map(|row| row.name.as_str());
        assert_eq!(best(Metric::more("x", 0)), Some("fast"));
        assert_eq!(best(Metric::less("x", 0)), Some("slow"));
        assert_eq!(best(Metric::told("x", 0)), None);
        assert_eq!(best(Metric::more("y", 0)), None);
    }

    #[test]
    fn thousands_are_told_apart() {
        for (value, text) in [
            (0.5, "0.5"),
            (999.0, "999.0"),
            (1000.0, "1,000.0"),
            (-1_234_567.0, "-1,234,567.0"),
        ] {
            assert_eq!(Metric::more("x", 1).write(value), text);
        }
    }
}
