//! How large the share of each connection is.

/// Up to this many connections share exactly; for more, the number is rounded.
const EXACT: u64 = 8;

/// Counts connections, and divides the rate among them.
#[derive(Debug)]
pub(super) struct Shares {
    total: u64,
    /// The most for one.
    each: u64,
    connections: u64,
    /// By what the rate is divided: at least the number of connections, so that all shares together
    /// are never more than the rate.
    divisor: u64,
}

impl Shares {
    pub(super) fn new(total: u64, each: u64) -> Self {
        Self {
            total,
            each,
            connections: 0,
            divisor: 1,
        }
    }

    /// The share of each connection, in bytes per second.
    pub(super) fn share(&self) -> u64 {
        (self.total / self.divisor).min(self.each).max(1)
    }

    /// Another connection sends. Returns the share of all if it is another one than before.
    pub(super) fn joined(&mut self) -> Option<u64> {
        self.connections += 1;
        let before = self.share();
        if self.connections > self.divisor {
            self.divisor = rounded(self.connections);
        }
        Some(self.share()).filter(|share| *share != before)
    }

    /// A connection sends no more. Returns the share of all if it is another one than before.
    pub(super) fn left(&mut self) -> Option<u64> {
        self.connections = self.connections.saturating_sub(1);
        let before = self.share();
        // If shares followed the number up and down at once, one connection that comes and goes
        // would change those of all others each time.
        let is_far_below = self.connections <= self.divisor - self.divisor / 4;
        if self.divisor <= EXACT || is_far_below {
            self.divisor = rounded(self.connections).min(self.divisor);
        }
        Some(self.share()).filter(|share| *share != before)
    }
}

/// A number of connections, rounded up by less than an eighth.
fn rounded(connections: u64) -> u64 {
    let step = (connections.next_power_of_two() / (2 * EXACT)).max(1);
    connections.max(1).next_multiple_of(step)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn few_connections_share_exactly() {
        let mut shares = Shares::new(840, u64::MAX);
        assert_eq!(shares.joined(), None);
        assert_eq!(shares.share(), 840);
        assert_eq!(shares.joined(), Some(420));
        assert_eq!(shares.joined(), Some(280));
        assert_eq!(shares.left(), Some(420));
        assert_eq!(shares.left(), Some(840));
        assert_eq!(shares.left(), None);
    }

    #[test]
    fn nobody_gets_more_than_one_may() {
        let mut shares = Shares::new(1000, 300);
        assert_eq!((shares.joined(), shares.share()), (None, 300));
        assert_eq!(shares.joined(), None);
        assert_eq!(shares.joined(), None);
        assert_eq!(shares.joined(), Some(250));
    }

    #[test]
    fn one_that_comes_and_goes_disturbs_nobody() {
        let mut shares = Shares::new(1 << 40, u64::MAX);
        for _ in 0..1000 {
            let _ = shares.joined();
        }
        let _ = shares.joined();
        for _ in 0..100 {
            assert_eq!((shares.left(), shares.joined()), (None, None));
        }
    }

    proptest! {
        /// What was set for each connection is never more than the rate together, also while it is
        /// being changed: others are slowed down before one joins, and sped up after one has left.
        #[test]
        fn all_together_never_have_more(steps in prop::collection::vec(any::<bool>(), 0..300), total in 1000_u64..1 << 40) {
            let mut shares = Shares::new(total, u64::MAX);
            let mut set = Vec::new();
            for joins in steps {
                if joins {
                    if let Some(share) = shares.joined() {
                        set.fill(share);
                    }
                    set.push(shares.share());
                } else if set.pop().is_some()
                    && let Some(share) = shares.left()
                {
                    set.fill(share);
                }
                let sum: u64 = set.iter().sum();
                prop_assert!(sum <= total);
                // And it is not wasted either.
                prop_assert!(set.is_empty() || sum >= total * 6 / 10, "{} of {}", sum, total);
            }
        }

        #[test]
        fn rounding_is_upwards_and_less_than_an_eighth(connections in 1_u64..1 << 40) {
            let rounded = rounded(connections);
            prop_assert!(rounded >= connections && rounded - connections <= connections / 8);
        }
    }
}
