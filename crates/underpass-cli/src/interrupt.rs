//! Signals end the transfer, not the process, so that what is half done can be cleared away.

use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
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
        let ignored = ignored();
        // What nohup(1), or a shell that starts us in the background, had us ignore stays ignored.
        let wanted = |number: &c_int| ignored & (1 << (number - 1)) == 0;
        for number in [SIGINT, SIGTERM, SIGHUP].into_iter().filter(wanted) {
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

/// The signals that this process ignores, signal 1 as the lowest bit: the line `SigIgn` of proc_pid_status(5). Nothing
/// that does without unsafe code tells it another way; without /proc none are known.
fn ignored() -> u64 {
    // The whole text fits, and comes with one read: this is on the way of every command's start.
    let mut status = [0; 4096];
    let count = File::open("/proc/self/status").and_then(|mut file| file.read(&mut status));
    let status = String::from_utf8_lossy(&status[..count.unwrap_or(0)]);
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"));
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or(0)
}
