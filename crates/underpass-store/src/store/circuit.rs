//! The circuit breaker: while a store fails again and again, requests fail at once instead of
//! adding to its load, and one request in a while finds out whether it is back.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// When the circuit opens, and for how long.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CircuitSettings {
    /// As many failed requests in a row open the circuit. 0 never opens it.
    pub failures: u32,
    /// How long no request is sent at first. Twice as long each time the store is still not there.
    pub pause: Duration,
    /// The pause does not grow beyond this.
    pub longest_pause: Duration,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        Self {
            failures: 10,
            pause: Duration::from_secs(1),
            longest_pause: Duration::from_secs(30),
        }
    }
}

/// Shared by all requests to one store.
#[derive(Debug)]
pub(crate) struct Circuit {
    settings: CircuitSettings,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// No request before this time; afterwards one.
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    pause: Duration,
}

impl Circuit {
    pub(crate) fn new(settings: CircuitSettings) -> Self {
        Self {
            settings,
            state: Mutex::default(),
        }
    }

    /// Whether a request may be sent; otherwise how long none will be.
    ///
    /// The request that is let through an open circuit keeps it closed to others for one more
    /// pause. If that request is forgotten, the next one is let through after it.
    pub(crate) fn admit(&self, now: Instant) -> Result<Pass, Duration> {
        let mut state = self.lock();
        let Some(open) = &mut state.open else {
            return Ok(Pass { probe: false });
        };
        match open.until.checked_duration_since(now) {
            Some(left) if !left.is_zero() => Err(left),
            _ => {
                open.until = now + open.pause;
                Ok(Pass { probe: true })
            }
        }
    }

    /// The store answered.
    pub(crate) fn succeeded(&self) {
        *self.lock() = State::default();
    }

    /// The store failed. Requests that were under way when the circuit opened do not make its
    /// pause longer.
    pub(crate) fn failed(&self, pass: Pass, now: Instant) {
        let mut state = self.lock();
        state.failures = state.failures.saturating_add(1);
        let pause = match &state.open {
            Some(_) if !pass.probe => return,
            Some(open) => open
                .pause
                .saturating_mul(2)
                .min(self.settings.longest_pause),
            None if self.settings.failures == 0 => return,
            None if state.failures < self.settings.failures => return,
            None => self.settings.pause,
        };
        let until = now + pause;
        state.open = Some(Open { until, pause });
    }

    /// Whether requests fail at once.
    pub(crate) fn is_open(&self) -> bool {
        self.lock().open.is_some()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The permission to send one request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pass {
    probe: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn circuit() -> Circuit {
        Circuit::new(CircuitSettings {
            failures: 3,
            pause: SECOND,
            longest_pause: 3 * SECOND,
        })
    }

    #[test]
    fn it_opens_after_failures_in_a_row_only() {
        let (circuit, now) = (circuit(), Instant::now());
        for _ in 0..10 {
            for _ in 0..2 {
                let pass = circuit.admit(now).unwrap();
                circuit.failed(pass, now);
            }
            circuit.succeeded();
        }
        assert!(!circuit.is_open());
    }

    #[test]
    fn one_request_finds_out_whether_the_store_is_back() {
        let (circuit, start) = (circuit(), Instant::now());
        let passes: Vec<_> = (0..5).map(|_| circuit.admit(start).unwrap()).collect();
        for pass in passes {
            circuit.failed(pass, start);
        }
        assert_eq!(
            circuit.admit(start).unwrap_err(),
            SECOND,
            "late failures count nothing"
        );
        let mut now = start;
        for pause in [2, 3, 3] {
            now += circuit.admit(now).unwrap_err();
            let probe = circuit.admit(now).unwrap();
            assert!(circuit.admit(now).is_err(), "one only");
            circuit.failed(probe, now);
            assert_eq!(circuit.admit(now).unwrap_err(), pause * SECOND);
        }
        now += 3 * SECOND;
        circuit.admit(now).unwrap();
        circuit.succeeded();
        assert!(circuit.admit(now).is_ok() && circuit.admit(now).is_ok());
    }
}
