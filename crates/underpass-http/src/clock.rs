//! Coarse clocks: cheap to read, with a resolution of a few milliseconds.

use std::sync::OnceLock;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Milliseconds since the first call in this process.
pub(crate) fn now() -> u64 {
    static START: OnceLock<u64> = OnceLock::new();
    let now = milliseconds(clock_gettime(ClockId::MonotonicCoarse));
    now.saturating_sub(*START.get_or_init(|| now))
}

/// Seconds since 1970, for dates.
pub(crate) fn unix_seconds() -> u64 {
    clock_gettime(ClockId::RealtimeCoarse).tv_sec as u64
}

fn milliseconds(time: Timespec) -> u64 {
    time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000
}
