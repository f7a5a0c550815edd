//! Bounds the time limits that callers give.

use std::time::Duration;

/// The longest limit: thirty years, as for tokio's timer. `Instant + Duration` panics near
/// `Duration::MAX`, and a `timespec` cannot hold it.
const LONGEST: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// `limit`, or [`LONGEST`] if it is longer. Every limit from a caller is passed through this first
/// (pitfall 36).
pub(crate) fn bounded(limit: impl Into<Option<Duration>>) -> Option<Duration> {
    limit.into().map(|limit| limit.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rustix::event::Timespec;
    use std::time::Instant;

    proptest! {
        #[test]
        fn pitfall_36_every_duration_can_be_reckoned_with(seconds: u64, nanoseconds in 0..1_000_000_000_u32) {
            for limit in [Duration::new(seconds, nanoseconds), Duration::MAX, Duration::ZERO] {
                let kept = bounded(limit).unwrap();
                prop_assert!(kept == limit || kept == LONGEST && limit > LONGEST);
                // A clock that has already run for the longest limit still does not overflow.
                prop_assert!(Instant::now().checked_add(2 * kept).is_some());
                prop_assert!(Timespec::try_from(kept).is_ok());
            }
        }
    }
}
