//! The runs of one contender over all rounds. One bad run makes all of them void.

use serde::{Deserialize, Serialize};

use super::sample::Sample;
use crate::error::Result;
use crate::stats::{self, Summary};

/// The runs, in the order of the rounds.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Rounds(Vec<Run>);

/// A sample, or the reason why there is none.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Run {
    Void { void: String },
    Whole(Sample),
}

impl Rounds {
    /// Records a run. Round 0 loads programs and is not counted, unless it fails: a program that
    /// fails once is not trusted.
    pub(crate) fn record(&mut self, round: u32, sample: Result<Sample>) {
        match sample {
            Ok(_) if round == 0 => {}
            Ok(sample) => self.0.push(Run::Whole(sample)),
            Err(why) => self.0.push(Run::Void {
                void: why.to_string(),
            }),
        }
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.0.iter().filter_map(|run| match run {
            Run::Whole(sample) => Some(sample),
            Run::Void { .. } => None,
        })
    }

    /// Why the whole row does not count, if it does not.
    pub(crate) fn void(&self) -> Option<String> {
        let mut bad = self.0.iter().filter_map(|run| match run {
            Run::Void { void } => Some(void),
            Run::Whole(_) => None,
        });
        let first = bad.next()?;
        Some(format!(
            "{first} ({} of {} runs)",
            bad.count() + 1,
            self.0.len()
        ))
    }

    /// The summary of a metric, if the row is not void.
    pub(crate) fn summary(&self, metric: &str) -> Option<Summary> {
        match self.void() {
            Some(_) => None,
            None => Summary::of(&self.values(metric)),
        }
    }

    /// The ratios to `base` in the same rounds; `None` if either is void.
    pub(crate) fn ratio(&self, base: &Self, metric: &str) -> Option<Summary> {
        if self.void().or_else(|| base.void()).is_some() {
            return None;
        }
        Summary::of(&stats::ratios(&self.values(metric), &base.values(metric)))
    }

    pub(crate) fn values(&self, metric: &str) -> Vec<f64> {
        let value = |sample: &Sample| sample.get(metric).unwrap_or(f64::NAN);
        self.samples()
            .map(value)
            .filter(|value| !value.is_nan())
            .collect()
    }
}

/// All rows in an order that starts with another one each round. So the row that runs before a
/// given one, and leaves the caches to it, differs from round to round.
pub(crate) fn in_turn<T>(rows: &mut [T], round: u32) -> impl Iterator<Item = &mut T> {
    let first = round as usize % rows.len().max(1);
    let (before, from) = rows.split_at_mut(first);
    from.iter_mut().chain(before)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn rounds(samples: &[Option<f64>]) -> Rounds {
        let mut rounds = Rounds::default();
        for (round, sample) in samples.iter().enumerate() {
            let sample = sample.map(|value| Sample::of([("x", value)]));
            rounds.record(round as u32, sample.ok_or_else(|| Error::new("broken")));
        }
        rounds
    }

    #[test]
    fn each_round_starts_with_another_row() {
        let order = |round| {
            in_turn(&mut [0, 1, 2], round)
                .map(|row| *row)
                .collect::<Vec<_>>()
        };
        assert_eq!(order(3), [0, 1, 2]);
        assert_eq!(order(4), [1, 2, 0]);
        assert_eq!(in_turn(&mut [0; 0], 1).count(), 0);
    }

    #[test]
    fn the_first_round_counts_only_when_it_fails() {
        assert_eq!(rounds(&[Some(9.0), Some(1.0)]).values("x"), [1.0]);
        let void = rounds(&[None, Some(1.0)]);
        assert_eq!(void.void().as_deref(), Some("broken (1 of 2 runs)"));
        assert_eq!(void.summary("x"), None);
        assert_eq!(rounds(&[Some(9.0), Some(1.0)]).void(), None);
    }

    #[test]
    fn ratios_need_both_sides_whole() {
        let (base, other) = (
            rounds(&[Some(0.0), Some(1.0), Some(10.0)]),
            rounds(&[Some(0.0), Some(2.0), Some(20.0)]),
        );
        let ratio = other.ratio(&base, "x");
        assert_eq!(ratio.map(|ratio| ratio.median), Some(2.0));
        let void = rounds(&[Some(0.0), Some(1.0), None]);
        assert_eq!(void.ratio(&base, "x"), None);
        assert_eq!(base.ratio(&void, "x"), None);
        assert_eq!(other.ratio(&base, "y"), None);
    }

    #[test]
    fn what_is_kept_is_read_again() {
        let kept = serde_json::to_string(&rounds(&[None, Some(1.0)])).unwrap();
        assert_eq!(kept, r#"[{"void":"broken"},{"numbers":{"x":1.0}}]"#);
        let read: Rounds = serde_json::from_str(&kept).unwrap();
        assert_eq!(read.void().as_deref(), Some("broken (1 of 2 runs)"));
        assert_eq!(read.values("x"), [1.0]);
    }
}
