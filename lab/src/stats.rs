//! The few statistics the tables need: order statistics only, so that one stolen time slice moves nothing much.

use serde::Serialize;

/// Middle, lowest and highest of some samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Summary {
    /// `None` when there is no sample.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len() % 2 == 1 {
            sorted[middle]
        } else {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        };
        Some(Self { median, min, max })
    }

    /// Highest over lowest: 1.0 on a machine that does nothing else.
    pub(crate) fn spread(&self) -> f64 {
        self.max / self.min
    }
}

/// Each round's sample over the same round's base; a base of zero says nothing and is left out.
///
/// Taking the ratio inside a round, then the median, cancels drift that a ratio of medians would keep.
pub(crate) fn ratios(samples: &[f64], base: &[f64]) -> Vec<f64> {
    let ratios = samples.iter().zip(base).map(|(sample, base)| sample / base);
    ratios.filter(|ratio| ratio.is_finite()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_samples_have_no_summary() {
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn median_of_odd_and_even_counts() {
        let odd = Summary::of(&[9.0, 1.0, 5.0]);
        assert_eq!(
            odd,
            Some(Summary {
                median: 5.0,
                min: 1.0,
                max: 9.0
            })
        );
        let even = Summary::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!(
            even,
            Some(Summary {
                median: 2.5,
                min: 1.0,
                max: 4.0
            })
        );
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let summary = Summary::of(&[1.0, 1.0, 1.0, 1.0, 100.0]);
        assert_eq!(
            summary,
            Some(Summary {
                median: 1.0,
                min: 1.0,
                max: 100.0
            })
        );
    }

    #[test]
    fn spread_is_highest_over_lowest() {
        let summary = Summary::of(&[2.0, 3.0]);
        assert_eq!(summary.map(|s| s.spread()), Some(1.5));
    }

    #[test]
    fn ratios_pair_rounds_and_skip_an_empty_base() {
        assert_eq!(ratios(&[2.0, 5.0, 9.0], &[1.0, 0.0, 3.0]), [2.0, 3.0]);
        assert_eq!(ratios(&[0.0], &[0.0]), [0.0; 0]);
    }

    #[test]
    fn per_round_ratio_survives_drift() {
        // The machine became ten times slower in the middle; the ratio is 2 all along.
        let (base, samples) = ([1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 20.0, 20.0]);
        let summary = Summary::of(&ratios(&samples, &base));
        assert_eq!(summary.map(|s| s.median), Some(2.0));
    }
}
