//! Keeps the work of the thread that looks after certificates going.

use std::io;
use std::panic::{self, AssertUnwindSafe};
use std::time::Duration;

use underpass::{Count, units};

use super::schedule;
use crate::report;

/// The wait before the first restart. It is doubled with each further one, as after failures.
const FIRST_WAIT: Duration = Duration::from_secs(5);

/// Whoever worked for so long has not failed at once: the next wait is short again.
const STEADY: Duration = Duration::from_secs(3600);

/// Runs `work` until it returns without an error. After a panic or an error it waits, by `pause`,
/// and starts `work` again: a server whose certificates are no longer renewed would fail weeks
/// later. `elapsed` is the clock.
pub(super) fn supervise(
    mut work: impl FnMut() -> io::Result<()>,
    restarts: &Count,
    elapsed: impl Fn() -> Duration,
    mut pause: impl FnMut(Duration),
) {
    let mut failures = 0;
    loop {
        let begun = elapsed();
        // What `work` shares with other threads are counters, and files that are replaced as a
        // whole: it can stop anywhere.
        let reason = match panic::catch_unwind(AssertUnwindSafe(&mut work)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            // The panic itself has been reported.
            Err(_) => "internal error".to_owned(),
        };
        failures = if elapsed().saturating_sub(begun) < STEADY {
            failures + 1
        } else {
            1
        };
        let wait = schedule::backoff(failures, FIRST_WAIT, None, schedule::random());
        report::notice(format_args!(
            "certificates are not looked after: {reason}; this starts again in {}",
            units::duration(wait)
        ));
        pause(wait);
        restarts.add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    /// Runs `work` with the number of its start; it takes so long each time. Returns the waits.
    fn waits(takes: Duration, mut work: impl FnMut(u32) -> io::Result<()>) -> (Vec<Duration>, u64) {
        let (restarts, waits) = (Count::default(), RefCell::new(Vec::new()));
        let (clock, start) = (Cell::new(Duration::ZERO), Cell::new(0));
        let work = || {
            start.set(start.get() + 1);
            clock.set(clock.get() + takes);
            work(start.get())
        };
        supervise(
            work,
            &restarts,
            || clock.get(),
            |wait| waits.borrow_mut().push(wait),
        );
        (waits.into_inner(), restarts.get())
    }

    #[test]
    fn work_that_panics_starts_again_and_is_counted() {
        let (waits, restarts) = waits(Duration::ZERO, |start| match start {
            1 | 3 => panic!("a bug"),
            2 => Err(io::ErrorKind::OutOfMemory.into()),
            _ => Ok(()),
        });
        assert_eq!((waits.len(), restarts), (3, 3));
        // Each is about twice as long as the one before it.
        for pair in waits.windows(2) {
            assert!(pair[0] < pair[1], "{waits:?}");
        }
    }

    #[test]
    fn waits_have_a_limit_and_are_short_again_after_a_long_time() {
        let many = |start| match start {
            ..40 => panic!("a bug"),
            _ => Ok(()),
        };
        let (quick, restarts) = waits(Duration::ZERO, many);
        assert_eq!(restarts, 39);
        assert!(quick.iter().all(|wait| *wait <= schedule::LONGEST_WAIT));
        assert!(quick[38] > Duration::from_secs(3600), "{quick:?}");
        let (slow, _) = waits(STEADY, many);
        assert!(slow.iter().all(|wait| *wait < 2 * FIRST_WAIT), "{slow:?}");
    }
}
