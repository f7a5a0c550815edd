//! When a request is tried again: decided here, without a clock and without a network.

use std::time::Duration;

use crate::error::StoreError;

/// How often a request is tried, and how long in all.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Retry {
    /// Attempts in all, the first included. 1 never retries.
    pub attempts: u32,
    /// The wait before the second attempt is at most this, and twice as long before each next one.
    pub first_wait: Duration,
    /// No wait is longer than this, unless the store asks for it.
    pub longest_wait: Duration,
    /// No attempt begins later than this after the first one.
    pub budget: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_wait: Duration::from_millis(100),
            longest_wait: Duration::from_secs(5),
            budget: Duration::from_secs(30),
        }
    }
}

/// How long to wait before the next attempt, or `None` if there is none.
///
/// `failed` attempts were made within `elapsed`. `random` is evenly spread over 0 to 1: the wait is
/// that part of the longest one, at least a half of it, so that many clients do not come back
/// together, and none comes back at once. A store that says when it wants to be asked is obeyed.
pub(crate) fn next_wait(
    retry: &Retry,
    failed: u32,
    elapsed: Duration,
    error: &StoreError,
    random: f64,
) -> Option<Duration> {
    if !error.is_transient() || failed >= retry.attempts {
        return None;
    }
    let doubled = 1_u32 << failed.saturating_sub(1).min(20);
    let longest = retry
        .first_wait
        .saturating_mul(doubled)
        .min(retry.longest_wait);
    let wait = longest.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0);
    let wait = wait.max(error.retry_after().unwrap_or_default());
    (elapsed.saturating_add(wait) <= retry.budget).then_some(wait)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorKind;

    fn error(kind: ErrorKind) -> StoreError {
        StoreError::new(kind, "")
    }

    #[test]
    fn what_will_not_change_is_not_asked_again() {
        for kind in ErrorKind::ALL {
            let wait = next_wait(&Retry::default(), 1, Duration::ZERO, &error(kind), 0.5);
            assert_eq!(wait.is_some(), kind.is_transient(), "{kind:?}");
        }
    }

    #[test]
    fn a_store_that_says_when_is_obeyed() {
        let retry = Retry::default();
        let busy =
            |seconds| StoreError::throttled(String::new(), Some(Duration::from_secs(seconds)));
        let wait = |error| next_wait(&retry, 1, Duration::ZERO, &error, 0.0);
        assert_eq!(wait(busy(7)), Some(Duration::from_secs(7)));
        assert_eq!(wait(busy(31)), None, "longer than the budget");
    }

    proptest! {
        /// Nothing is retried for ever, and waits grow to the longest one and not beyond it.
        #[test]
        fn retries_end(random in 0.0..=1.0_f64, attempts in 1_u32..50) {
            let retry = Retry { attempts, ..Retry::default() };
            let (mut failed, mut elapsed) = (1, Duration::ZERO);
            while let Some(wait) =
                next_wait(&retry, failed, elapsed, &error(ErrorKind::Unreachable), random)
            {
                prop_assert!(wait >= retry.first_wait / 2 && wait <= retry.longest_wait);
                elapsed += wait;
                failed += 1;
                prop_assert!(failed <= attempts && elapsed <= retry.budget);
            }
        }
    }
}
