//! Latencies in buckets whose width is a fixed share of their value.

use std::time::Duration;

/// Buckets per doubling: a quantile is at most 1/32, about 3 %, above the sample that it stands
/// for.
const STEPS_BITS: u32 = 5;
const BUCKETS: usize = (64 << STEPS_BITS) as usize;

pub(super) struct Histogram {
    counts: Vec<u64>,
    max: Duration,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            max: Duration::ZERO,
        }
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.counts[bucket(latency.as_nanos() as u64)] += 1;
        self.max = self.max.max(latency);
    }

    pub(super) fn max_us(&self) -> f64 {
        self.max.as_secs_f64() * 1e6
    }

    /// The upper end of the bucket with the sample at `share` of all samples, in µs; 0 without
    /// samples.
    pub(super) fn quantile_us(&self, share: f64) -> f64 {
        let total: u64 = self.counts.iter().sum();
        let wanted = (total as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.counts.iter().position(|&count| {
            seen += count;
            seen >= wanted
        });
        found.map_or(0.0, |at| (upper_end(at) as f64 / 1e3).min(self.max_us()))
    }
}

fn bucket(nanos: u64) -> usize {
    let steps = 1 << STEPS_BITS;
    if nanos < steps {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - STEPS_BITS;
    ((u64::from(shift) << STEPS_BITS) + (nanos >> shift)) as usize
}

fn upper_end(bucket: usize) -> u64 {
    let steps = 1 << STEPS_BITS;
    let bucket = bucket as u64;
    if bucket < 2 * steps {
        return bucket;
    }
    let shift = (bucket >> STEPS_BITS) - 1;
    let top = (bucket & (steps - 1)) + steps;
    // In this order, because the last bucket ends at u64::MAX.
    (top << shift) + ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_its_bucket_within_a_32nd() {
        for bits in 0..64 {
            for value in [
                1 << bits,
                (1 << bits) + (1 << bits) / 3,
                (1_u64 << bits) - 1,
            ] {
                let end = upper_end(bucket(value));
                assert!(end >= value && end - value <= value / 32, "{value} {end}");
            }
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn quantiles_count_samples() {
        let mut histogram = Histogram::new();
        assert!(histogram.quantile_us(0.5) <= 0.0);
        for micros in 1..=100 {
            histogram.record(Duration::from_micros(micros));
        }
        for (share, micros) in [(0.5, 50.0), (0.99, 99.0), (1.0, 100.0)] {
            let quantile = histogram.quantile_us(share);
            assert!((micros..=micros * 1.04).contains(&quantile), "{quantile}");
        }
    }
}
