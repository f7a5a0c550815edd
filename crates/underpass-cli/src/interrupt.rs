//! Signals end the transfer, not the process, so that what is half done can be cleared away.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use underpass::Cancel;

use crate::exit::Failure;

/// Listens for SIGINT, SIGTERM and SIGHUP for the rest of the process's life.
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    signal: Arc<AtomicI32>,
}

impl Interrupt {
    /// From here on the first such signal cancels and a second one ends the process at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let failed = |error| Failure::failed(format_args!("signals cannot be caught: {error}"));
        let cancel = Cancel::new().map_err(failed)?;
        let signal = Arc::new(AtomicI32::new(0));
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
        let (canceller, seen) = (cancel.clone(), Arc::clone(&signal));
        std::thread::spawn(move || {
            for number in signals.forever() {
                if seen.swap(number, Ordering::AcqRel) != 0 {
                    std::process::exit(128 + number);
                }
                canceller.cancel();
            }
        });
        Ok(Self { cancel, signal })
    }

    /// The failure to report after `cancel` was seen.
    pub(crate) fn failure(&self, line: impl std::fmt::Display) -> Failure {
        Failure::interrupted(line, self.signal.load(Ordering::Acquire))
    }
}
