//! How long requests and their bodies may take.

use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Failure};

/// Stores close idle connections after a minute or more.
pub(crate) const KEPT_IDLE: Duration = Duration::from_secs(50);
/// As many bytes may take as long as a request. It is a part of an upload, and a usual block.
pub(crate) const PORTION: u64 = 4 << 20;

/// In so many parts the limit between two pieces is waited for.
const TURNS: u32 = 8;
const SHORTEST_TURN: Duration = Duration::from_millis(10);

/// How long the steps of a request may take.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Timeouts {
    /// From the first SYN to the end of the TLS handshake.
    pub connect: Duration,
    /// From the request to the head of the answer.
    pub answer: Duration,
    /// Between two pieces of a body.
    pub idle: Duration,
    /// One request in all: one page of a list, one part of an upload. Of the bytes of an object,
    /// every 4 MiB. It ends a body that drips.
    pub request: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(15),
            idle: Duration::from_secs(10),
            request: Duration::from_secs(60),
        }
    }
}

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

    /// How long one call waits. It is a part of the limit, so that a socket is told once, and not
    /// before each call.
    pub(crate) fn turn(&self) -> Duration {
        (self.idle / TURNS).max(SHORTEST_TURN)
    }

    /// Why nothing more is waited for.
    pub(crate) fn over(&self) -> Failure {
        let why = if Instant::now() >= self.end {
            format!("the body took longer than {} s", self.request.as_secs_f32())
        } else {
            format!("the body stopped for {} s", self.idle.as_secs_f32())
        };
        (ErrorKind::TimedOut, why)
    }
}

/// There is no more patience for what a request waits for.
pub(crate) fn too_long(what: &str, limit: Duration) -> Failure {
    let why = format!("{what} from the store within {} s", limit.as_secs_f32());
    (ErrorKind::TimedOut, why)
}
