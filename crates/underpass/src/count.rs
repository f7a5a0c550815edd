//! Counters that any thread can update.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows, or a level that goes up and down. It never wraps: it stops at 0 and at
/// `u64::MAX`.
///
/// ```
/// use underpass::Count;
///
/// let open = Count::default();
/// open.add(2);
/// open.subtract(3);
/// assert_eq!(open.get(), 0);
/// ```
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The current value.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// Adds `count`.
    pub fn add(&self, count: u64) {
        // One instruction on the hot path. A wrap, which no real count reaches, is corrected
        // afterwards.
        if self
            .0
            .fetch_add(count, Relaxed)
            .checked_add(count)
            .is_none()
        {
            self.0.store(u64::MAX, Relaxed);
        }
    }

    /// Subtracts `count`.
    pub fn subtract(&self, count: u64) {
        let less = |now: u64| Some(now.saturating_sub(count));
        // The closure always gives a value, so this never fails.
        let _ = self.0.fetch_update(Relaxed, Relaxed, less);
    }
}

#[cfg(test)]
mod tests {
    use super::Count;

    #[test]
    fn a_count_stops_at_both_ends() {
        let count = Count::default();
        count.add(1);
        count.subtract(2);
        assert_eq!(count.get(), 0);
        count.add(u64::MAX);
        count.add(2);
        assert_eq!(count.get(), u64::MAX);
    }
}
