//! How often each object is asked for: Zipf's law, and a seeded source of chance.

/// Seeded random numbers (splitmix64): not for secrets.
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// From 0 up to, but not including, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// From 0 up to, but not including, `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((self.fraction() * end as f64) as u64).min(end - 1)
    }
}

/// A number that looks random, from one that does not.
pub(crate) fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}

/// Draws objects: number 0 most often, number n in proportion to (n + 1)^-exponent.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// The chance of each object and all before it.
    up_to: Vec<f64>,
}

impl Zipf {
    /// `objects` is not 0.
    pub(crate) fn new(objects: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut up_to: Vec<f64> = (1..=objects)
            .map(|rank| {
                sum += (rank as f64).powf(-exponent);
                sum
            })
            .collect();
        for part in &mut up_to {
            *part /= sum;
        }
        Self { up_to }
    }

    pub(crate) fn draw(&self, chance: &mut Chance) -> usize {
        let at = chance.fraction();
        let object = self.up_to.partition_point(|&part| part <= at);
        object.min(self.up_to.len() - 1)
    }
}

/// A range of ranks whose objects are asked for about equally often.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ranks {
    pub(super) count: f64,
    /// The share of all requests that one of these objects gets.
    pub(super) share: f64,
}

/// The whole of a Zipf distribution in few ranges: the first thousand ranks one by one, the others
/// in ranges that grow by a hundredth. So any number of objects can be summed over.
pub(super) fn ranks(objects: u64, exponent: f64) -> Vec<Ranks> {
    const SINGLY: u64 = 1000;
    let mut ranks = Vec::new();
    let mut rank = 1;
    while rank <= objects {
        let width = if rank <= SINGLY {
            1
        } else {
            (rank / 100).max(1)
        };
        let width = width.min(objects - rank + 1);
        let middle = rank as f64 + (width - 1) as f64 / 2.0;
        ranks.push(Ranks {
            count: width as f64,
            share: middle.powf(-exponent),
        });
        rank += width;
    }
    let sum: f64 = ranks.iter().map(|range| range.count * range.share).sum();
    for range in &mut ranks {
        range.share /= sum;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let zipf = Zipf::new(100, 1.0);
        let drawn = |seed| {
            let mut chance = Chance::new(seed);
            (0..50).map(|_| zipf.draw(&mut chance)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(7), drawn(7));
        assert_ne!(drawn(7), drawn(8));
    }

    #[test]
    fn objects_are_drawn_in_proportion() {
        let zipf = Zipf::new(10, 1.0);
        let mut chance = Chance::new(1);
        let mut counts = [0_u32; 10];
        for _ in 0..100_000 {
            counts[zipf.draw(&mut chance)] += 1;
        }
        let ratio = f64::from(counts[0]) / f64::from(counts[4]);
        assert!((4.6..5.4).contains(&ratio), "{counts:?}");
    }

    #[test]
    fn ranges_sum_up_to_all_objects_and_all_requests() {
        for (objects, exponent) in [(1, 1.0), (5000, 0.8), (10_000_000_000, 1.1)] {
            let ranks = ranks(objects, exponent);
            let count: f64 = ranks.iter().map(|range| range.count).sum();
            let share: f64 = ranks.iter().map(|range| range.count * range.share).sum();
            assert!((count - objects as f64).abs() < 1.0 && (share - 1.0).abs() < 1e-9);
            assert!(ranks.len() < 4000);
        }
    }
}
