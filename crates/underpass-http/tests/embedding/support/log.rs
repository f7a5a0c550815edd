//! A record of what an observer was told, which tests can wait for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use underpass_http::{Exchange, Failure, Observe};

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Log {
    entries: Mutex<Entries>,
    changed: Condvar,
}

#[derive(Default)]
struct Entries {
    exchanges: Vec<Exchange>,
    failures: Vec<String>,
}

impl Log {
    /// Waits for `count` exchanges, and returns them.
    pub(crate) fn exchanges(&self, count: usize) -> Vec<Exchange> {
        self.wait(|entries| entries.exchanges.get(..count).map(<[_]>::to_vec))
    }

    /// Waits for the first failure, and returns it.
    pub(crate) fn failure(&self) -> String {
        self.wait(|entries| entries.failures.first().cloned())
    }

    /// Number of exchanges so far.
    pub(crate) fn count(&self) -> usize {
        self.wait(|entries| Some(entries.exchanges.len()))
    }

    /// The failures so far.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.wait(|entries| Some(entries.failures.clone()))
    }

    fn wait<T>(&self, mut look: impl FnMut(&Entries) -> Option<T>) -> T {
        let mut entries = self.entries.lock().unwrap();
        loop {
            if let Some(seen) = look(&entries) {
                return seen;
            }
            let (next, timeout) = self.changed.wait_timeout(entries, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "the observer was not told");
            entries = next;
        }
    }

    fn add(&self, add: impl FnOnce(&mut Entries)) {
        add(&mut self.entries.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Observe for Log {
    fn exchange(&self, exchange: &Exchange) {
        self.add(|entries| entries.exchanges.push(exchange.clone()));
    }

    fn failed(&self, failure: &Failure<'_>) {
        let mut line = failure.error.to_string();
        let mut cause = failure.error.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        self.add(|entries| entries.failures.push(line));
    }
}
