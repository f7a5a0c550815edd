//! The few statistics that the tables need. All are order statistics, so that a single disturbed
//! sample hardly changes them.

use serde::Serialize;

/// Median, lowest and highest value of some samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// Lower and upper end of the median's 90 % interval. `None` with fewer than five samples,
    /// which are too few for it.
    pub(crate) interval: Option<(f64, f64)>,
}

/// How often the interval must contain the true median.
const CONFIDENCE: f64 = 0.9;

/// An interval this wide or wider, as a fraction of the median, does not settle a comparison.
const WIDE: f64 = 0.1;

impl Summary {
    /// The summary; `None` if there is no sample.
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
        let interval = outside(sorted.len()).map(|k| (sorted[k], sorted[sorted.len() - 1 - k]));
        Some(Self {
            median,
            min,
            max,
            interval,
        })
    }

    /// Whether the samples agree well enough to trust the median.
    pub(crate) fn is_settled(&self) -> bool {
        self.interval
            .is_some_and(|(low, high)| high - low < WIDE * self.median)
    }

    /// Highest divided by lowest: 1.0 on a machine without other work.
    pub(crate) fn spread(&self) -> f64 {
        self.max / self.min
    }
}

/// How many samples at each end lie outside the interval that contains the true median nine times
/// in ten. This is the usual interval by order statistics, which assumes nothing about the
/// distribution of the samples.
fn outside(samples: usize) -> Option<usize> {
    // The chance that at most `k` of `samples` tosses of a coin are heads.
    let mut exactly = 0.5_f64.powi(samples as i32);
    let mut at_most = exactly;
    let mut found = None;
    for k in 0..samples / 2 {
        if 1.0 - 2.0 * at_most < CONFIDENCE {
            break;
        }
        found = Some(k);
        exactly *= (samples - k) as f64 / (k + 1) as f64;
        at_most += exactly;
    }
    found
}

/// Each sample divided by the base of the same round. If the base is zero, there is no ratio, and
/// it is left out.
///
/// The median of the ratios within rounds cancels a drift of the machine; a ratio of medians would
/// keep it.
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
                max: 9.0,
                interval: None
            })
        );
        let even = Summary::of(&[4.0, 1.0, 2.0, 3.0]);
        assert_eq!(
            even,
            Some(Summary {
                median: 2.5,
                min: 1.0,
                max: 4.0,
                interval: None
            })
        );
    }

    #[test]
    fn one_outlier_does_not_move_the_median() {
        let summary = Summary::of(&[1.0, 1.0, 1.0, 1.0, 100.0]).unwrap();
        assert!((summary.median - 1.0).abs() < 1e-9);
        assert!(!summary.is_settled());
    }

    #[test]
    fn the_interval_leaves_out_as_many_samples_as_the_tables_say() {
        // From a textbook's table of the sign test, at 90 %.
        let table = [
            (4, None),
            (5, Some(0)),
            (7, Some(0)),
            (8, Some(1)),
            (9, Some(1)),
        ];
        let more = [(11, Some(2)), (15, Some(3)), (20, Some(5)), (25, Some(7))];
        for (samples, wanted) in table.into_iter().chain(more) {
            assert_eq!(outside(samples), wanted, "{samples} samples");
        }
    }

    #[test]
    fn nine_samples_that_agree_settle_it_whatever_the_two_outermost_are() {
        let mut samples = vec![1.0; 7];
        samples.extend([0.1, 9.0]);
        let summary = Summary::of(&samples).unwrap();
        assert_eq!(summary.interval, Some((1.0, 1.0)));
        assert!(summary.is_settled());
        samples[0] = 1.2;
        assert!(!Summary::of(&samples).unwrap().is_settled());
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
        // The machine became ten times slower in the middle, but the ratio is always 2.
        let (base, samples) = ([1.0, 1.0, 10.0, 10.0], [2.0, 2.0, 20.0, 20.0]);
        let summary = Summary::of(&ratios(&samples, &base));
        assert_eq!(summary.map(|s| s.median), Some(2.0));
    }
}
