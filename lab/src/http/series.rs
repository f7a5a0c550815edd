//! One server's row: its samples and what is told of them.

use serde::Serialize;
use serde_json::{Value, json};

use super::load::Window;
use crate::rounds::Rounds;
use crate::stats::Summary;

pub(crate) struct Series<S> {
    pub(crate) name: &'static str,
    pub(crate) rounds: Rounds<S>,
}

/// One number of a sample.
pub(crate) type Measure<S> = fn(&S) -> f64;

pub(super) const REQUESTS: Measure<Window> = |window| window.requests as f64 / window.seconds;
pub(super) const RATE: Measure<Window> = |window| window.bytes as f64 / 1e9 / window.seconds;
pub(super) const CPU_PER_REQUEST: Measure<Window> =
    |window| window.server_cpu_s * 1e6 / window.requests as f64;
pub(super) const CPU_PER_GB: Measure<Window> =
    |window| window.server_cpu_s * 1e9 / window.bytes as f64;
pub(super) const SERVER_BUSY: Measure<Window> =
    |window| window.server_cpu_s * 100.0 / window.seconds;
pub(super) const LOAD_BUSY: Measure<Window> = |window| window.load_cpu_s * 100.0 / window.seconds;
/// In percent of its processor: above it the load, not the server, may be what is measured.
const LOAD_LIMIT: f64 = 95.0;
/// Below it the server waited for something: for others on its processor, most of the time.
const SERVER_LIMIT: f64 = 95.0;

impl<S> Series<S> {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            rounds: Rounds::new(),
        }
    }

    /// The name, then `cells`, or why there are none.
    pub(crate) fn row(&self, cells: impl FnOnce() -> Option<Vec<String>>) -> Vec<String> {
        let cells = match self.rounds.void() {
            Some(why) => vec![format!("VOID: {why}")],
            None => cells().unwrap_or_else(|| vec!["no sample".to_owned()]),
        };
        [self.name.to_owned()].into_iter().chain(cells).collect()
    }

    /// The middle of `measure`, with so many digits behind the point.
    pub(crate) fn median(&self, measure: Measure<S>, digits: usize) -> String {
        let median = self
            .rounds
            .summary(measure)
            .map_or(f64::NAN, |all| all.median);
        format!("{median:.digits$}")
    }

    pub(crate) fn spread(&self, measure: Measure<S>, digits: usize) -> String {
        let all = self.rounds.summary(measure);
        all.map_or("–".to_owned(), |all| {
            format!("{:.digits$}–{:.digits$}", all.min, all.max)
        })
    }
}

impl Series<Window> {
    /// How much of their processors both sides used, in percent.
    pub(crate) fn busy(&self) -> String {
        let (server, load) = (self.median(SERVER_BUSY, 0), self.median(LOAD_BUSY, 0));
        format!("{server} / {load}")
    }

    /// Where the numbers are not the server's: it was not the limit, or not alone on its processor.
    pub(crate) fn warning(&self) -> Option<String> {
        let load = self.rounds.summary(LOAD_BUSY)?.median;
        let server = self.rounds.summary(SERVER_BUSY)?.median;
        let name = self.name;
        if load > LOAD_LIMIT {
            return Some(format!(
                "WARNING: {name}: the load used {load:.0} % of its processor, it may be the limit.\n"
            ));
        }
        (server < SERVER_LIMIT).then(|| {
            format!(
                "WARNING: {name} used only {server:.0} % of its processor: its rate means little.\n"
            )
        })
    }
}

impl<S: Serialize> Series<S> {
    pub(crate) fn to_json(&self) -> Value {
        json!({ "name": self.name, "void": self.rounds.void(), "rounds": self.rounds.to_json() })
    }
}

/// What a goal is judged by: a void row is not.
pub(crate) fn summary<S>(all: &[Series<S>], name: &str, measure: Measure<S>) -> Option<Summary> {
    let series = find(all, name).filter(|series| series.rounds.void().is_none());
    series?.rounds.summary(measure)
}

pub(crate) fn find<'a, S>(all: &'a [Series<S>], name: &str) -> Option<&'a Series<S>> {
    all.iter().find(|series| series.name == name)
}

/// Round by round, `name` over `base`.
pub(crate) fn ratio<S>(
    all: &[Series<S>],
    name: &str,
    base: &str,
    measure: Measure<S>,
) -> Option<Summary> {
    find(all, name)?
        .rounds
        .ratio(&find(all, base)?.rounds, measure)
}

pub(crate) fn void<S>(part: &str, all: &[Series<S>]) -> Vec<String> {
    let void = all.iter().filter(|series| series.rounds.void().is_some());
    void.map(|series| format!("{part}: {}", series.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn series(name: &'static str, broken: bool) -> Series<f64> {
        let mut series = Series::new(name);
        series.rounds.record(1, Ok(2.0));
        if broken {
            series.rounds.record(2, Err(Error::new("broken")));
        }
        series
    }

    #[test]
    fn a_void_row_meets_no_goal_and_is_named() {
        let all = [series("good", false), series("bad", true)];
        assert!(summary(&all, "good", |s| *s).is_some());
        assert!(summary(&all, "bad", |s| *s).is_none());
        assert!(summary(&all, "absent", |s| *s).is_none());
        assert!(ratio(&all, "bad", "good", |s| *s).is_none());
        assert!(ratio(&all, "good", "bad", |s| *s).is_none());
        assert_eq!(void("part", &all), ["part: bad"]);
        let row = all[1].row(|| Some(vec!["2".to_owned()]));
        assert_eq!(row, ["bad", "VOID: broken (1 of 2 runs)"]);
    }
}
