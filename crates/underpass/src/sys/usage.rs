//! getrusage(2): what the kernel says the calling thread has used. rustix does not wrap it.

use std::mem::MaybeUninit;
use std::time::Duration;

/// CPU time and context switches of one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) user: Duration,
    pub(crate) system: Duration,
    pub(crate) voluntary: u64,
    pub(crate) involuntary: u64,
}

impl Usage {
    /// What the calling thread has used since it began.
    pub(crate) fn of_thread() -> Self {
        let mut raw = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `raw` is writable memory for one `struct rusage`; all-zero is a valid value of it, so a refusal
        // (impossible with these arguments) leaves zeros.
        let raw = unsafe {
            libc::getrusage(libc::RUSAGE_THREAD, raw.as_mut_ptr());
            raw.assume_init()
        };
        Self {
            user: duration(raw.ru_utime),
            system: duration(raw.ru_stime),
            voluntary: raw.ru_nvcsw as u64,
            involuntary: raw.ru_nivcsw as u64,
        }
    }

    /// Adds what was used between `before` and `self`.
    pub(crate) fn add_since(&mut self, before: &Self, now: &Self) {
        self.user += now.user.saturating_sub(before.user);
        self.system += now.system.saturating_sub(before.system);
        self.voluntary += now.voluntary.saturating_sub(before.voluntary);
        self.involuntary += now.involuntary.saturating_sub(before.involuntary);
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}
