//! A clock that is cheap to keep and to compare.

use std::sync::OnceLock;
use std::time::Instant;

/// Milliseconds since the process first asked.
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_millis() as u64
}
