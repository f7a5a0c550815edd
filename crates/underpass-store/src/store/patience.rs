//! How long a body may take.

use std::time::{Duration, Instant};

use super::Timeouts;
use crate::error::ErrorKind;

/// As many bytes may take as long as a request. It is a part of an upload, and a usual block.
pub(crate) const PORTION: u64 = 4 << 20;

/// Until when the next bytes of a body have to come.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    idle: Duration,
    request: Duration,
    /// Of this portion.
    end: Instant,
    missing: u64,
}

impl Patience {
    /// For a request that begins now.
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        Self {
            idle: timeouts.idle,
            request: timeouts.request,
            end: Instant::now() + timeouts.request,
            missing: PORTION,
        }
    }

    /// Bytes came. Whether they came in time.
    pub(crate) fn came(&mut self, count: u64) -> bool {
        let now = Instant::now();
        if now >= self.end {
            return false;
        }
        self.missing = self.missing.saturating_sub(count);
        if self.missing == 0 {
            self.missing = PORTION;
            self.end = now + self.request;
        }
        true
    }

    /// When to stop waiting for more.
    pub(crate) fn until(&self) -> Instant {
        self.end.min(Instant::now() + self.idle)
    }

    /// Why nothing more is waited for.
    pub(crate) fn over(&self) -> (ErrorKind, String) {
        let why = if Instant::now() >= self.end {
            format!("the body took longer than {} s", self.request.as_secs_f32())
        } else {
            format!("the body stopped for {} s", self.idle.as_secs_f32())
        };
        (ErrorKind::TimedOut, why)
    }
}
