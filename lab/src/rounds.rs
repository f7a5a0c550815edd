//! The runs of one program over all rounds: where one bad run makes the rest worthless.

use serde::Serialize;
use serde_json::{Value, json};

use crate::error::Result;
use crate::stats::{self, Summary};

/// Samples in the order of the rounds; a failed run says why.
#[derive(Debug)]
pub(crate) struct Rounds<S>(Vec<Result<S>>);

impl<S> Rounds<S> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Round 0 loads programs and is not counted, unless it fails: a program that fails once is not to be trusted.
    pub(crate) fn record(&mut self, round: u32, sample: Result<S>) {
        if round > 0 || sample.is_err() {
            self.0.push(sample);
        }
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &S> {
        self.0.iter().flatten()
    }

    /// Why the whole row counts for nothing, if it does.
    pub(crate) fn void(&self) -> Option<String> {
        let first = self.0.iter().find_map(|round| round.as_ref().err())?;
        let bad = self.0.iter().filter(|round| round.is_err()).count();
        Some(format!("{first} ({bad} of {} runs)", self.0.len()))
    }

    pub(crate) fn summary(&self, measure: fn(&S) -> f64) -> Option<Summary> {
        Summary::of(&self.samples().map(measure).collect::<Vec<_>>())
    }

    /// Against `base` in the same round; nothing is held against a base that is void.
    pub(crate) fn ratio(&self, base: &Self, measure: fn(&S) -> f64) -> Option<Summary> {
        if self.void().or_else(|| base.void()).is_some() {
            return None;
        }
        Summary::of(&stats::ratios(&self.values(measure), &base.values(measure)))
    }

    fn values(&self, measure: fn(&S) -> f64) -> Vec<f64> {
        self.samples().map(measure).collect()
    }
}

/// All rows, each round starting with another one: who runs behind whom (and finds the caches as that one left them)
/// differs from round to round.
pub(crate) fn in_turn<T>(rows: &mut [T], round: u32) -> impl Iterator<Item = &mut T> {
    let first = round as usize % rows.len().max(1);
    let (before, from) = rows.split_at_mut(first);
    from.iter_mut().chain(before)
}

impl<S: Serialize> Rounds<S> {
    pub(crate) fn to_json(&self) -> Value {
        let round = |round: &Result<S>| match round {
            Ok(sample) => json!(sample),
            Err(why) => json!({ "void": why.to_string() }),
        };
        self.0.iter().map(round).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn rounds(samples: &[Option<f64>]) -> Rounds<f64> {
        let mut rounds = Rounds::new();
        for (round, sample) in samples.iter().enumerate() {
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
        assert_eq!(rounds(&[Some(9.0), Some(1.0)]).values(|s| *s), [1.0]);
        assert_eq!(
            rounds(&[None, Some(1.0)]).void(),
            Some("broken (1 of 2 runs)".to_owned())
        );
        assert_eq!(rounds(&[Some(9.0), Some(1.0)]).void(), None);
    }

    #[test]
    fn ratios_need_both_sides_whole() {
        let (base, other) = (
            rounds(&[Some(0.0), Some(1.0), Some(10.0)]),
            rounds(&[Some(0.0), Some(2.0), Some(20.0)]),
        );
        assert_eq!(
            other.ratio(&base, |s| *s).map(|ratio| ratio.median),
            Some(2.0)
        );
        let void = rounds(&[Some(0.0), Some(1.0), None]);
        assert_eq!(void.ratio(&base, |s| *s), None);
        assert_eq!(base.ratio(&void, |s| *s), None);
    }

    #[test]
    fn a_void_round_is_told_in_json() {
        assert_eq!(
            rounds(&[None, Some(1.0)]).to_json(),
            json!([{ "void": "broken" }, 1.0])
        );
    }
}
