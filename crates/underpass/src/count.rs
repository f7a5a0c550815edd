//! Counting what happens, from any thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A count that only grows, or a level that goes up and down.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// The value now.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// There are so many more.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// There are so many fewer.
    pub fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Relaxed);
    }
}
