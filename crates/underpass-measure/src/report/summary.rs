//! The few statistics that are needed. All are order statistics, so that a single disturbed sample
//! hardly changes them.

use serde::{Deserialize, Serialize};

/// Median, lowest and highest value of some samples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The lowest value.
    pub min: f64,
    /// The highest value.
    pub max: f64,
}

/// One way compared with another, by the ratios within each round: a disturbance of a round affects
/// both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Ratios {
    /// Throughput as a multiple of the other's.
    pub throughput: Summary,
    /// CPU time as a multiple of the other's.
    pub cpu: Summary,
}

impl Summary {
    /// The summary of `samples`; `None` if there are none.
    pub(crate) fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) {
            f64::midpoint(sorted[middle - 1], sorted[middle])
        } else {
            sorted[middle]
        };
        Some(Self { median, min, max })
    }

    /// The distance between highest and lowest value, as a fraction of the median.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 {
            return 0.0;
        }
        (self.max - self.min) / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_counts() {
        let odd = Summary::of(&[3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Summary::of(&[4.0, 1.0]).map(|even| even.median), Some(2.5));
        assert_eq!(Summary::of(&[]), None);
        assert!((odd.spread() - 1.0).abs() < 1e-9);
    }
}
