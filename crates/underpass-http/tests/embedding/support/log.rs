//! A record of what an observer was told, which tests can wait for.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use underpass_http::{Exchange, Failure, Observe};

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Default)]
pub(crate) struct Log {
    told: Mutex<Told>,
    changed: Condvar,
}

#[derive(Default)]
struct Told {
    exchanges: Vec<Exchange>,
    failures: Vec<String>,
}

impl Log {
    /// Waits for `count` exchanges, and returns them.
    pub(crate) fn exchanges(&self, count: usize) -> Vec<Exchange> {
        self.wait(|told| told.exchanges.get(..count).map(<[_]>::to_vec))
    }

    /// Waits for the first failure, and returns it.
    pub(crate) fn failure(&self) -> String {
        self.wait(|told| told.failures.first().cloned())
    }

    /// Number of exchanges so far.
    pub(crate) fn count(&self) -> usize {
        self.wait(|told| Some(told.exchanges.len()))
    }

    /// The failures so far.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.wait(|told| Some(told.failures.clone()))
    }

    fn wait<T>(&self, mut look: impl FnMut(&Told) -> Option<T>) -> T {
        let mut told = self.told.lock().unwrap();
        loop {
            if let Some(seen) = look(&told) {
                return seen;
            }
            let (next, timeout) = self.changed.wait_timeout(told, PATIENCE).unwrap();
            assert!(!timeout.timed_out(), "the observer was not told");
            told = next;
        }
    }

    fn tell(&self, tell: impl FnOnce(&mut Told)) {
        tell(&mut self.told.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

impl Observe for Log {
    fn exchange(&self, exchange: &Exchange) {
        self.tell(|told| told.exchanges.push(exchange.clone()));
    }

    fn failed(&self, failure: &Failure<'_>) {
        let mut line = failure.error.to_string();
        let mut cause = failure.error.source();
        while let Some(error) = cause {
            line.push_str(": ");
            line.push_str(&error.to_string());
            cause = error.source();
        }
        self.tell(|told| told.failures.push(line));
    }
}
