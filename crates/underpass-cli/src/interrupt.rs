//! Signals end the transfer, not the process, so that what is half done can be cleared away.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use underpass::Cancel;

use crate::exit::Failure;

/// Listens for SIGINT, SIGTERM and SIGHUP for the rest of the process's life.
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From here on the first such signal cancels, and a second one ends the process at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::register()
            .map_err(|error| Failure::failed(format_args!("signals cannot be caught: {error}")))
    }

    fn register() -> std::io::Result<Self> {
        let cancel = Cancel::new()?;
        let signal = Arc::new(AtomicUsize::new(0));
        for number in [SIGINT, SIGTERM, SIGHUP] {
            let (flag, waker) = cancel.parts()?;
            // Handlers run in this order: the first finds the flag set only at the second signal.
            flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&flag))?;
            flag::register_usize(number, Arc::clone(&signal), number as usize)?;
            flag::register(number, flag)?;
            pipe::register(number, waker)?;
        }
        Ok(Self { cancel, signal })
    }

    /// The failure to report after `cancel` was seen.
    pub(crate) fn failure(&self, line: impl std::fmt::Display) -> Failure {
        Failure::interrupted(line, self.signal.load(Ordering::Acquire))
    }
}
