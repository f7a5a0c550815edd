//! getrusage(2): the CPU time and context switches of the calling thread. rustix does not wrap it.

use std::mem::MaybeUninit;
use std::ops::AddAssign;
use std::time::Duration;

use rustix::time::ClockId;

/// CPU time and context switches of one thread, as getrusage(2) counts them. Receipts are made from
/// these.
///
/// ```
/// use underpass::Usage;
///
/// let before = Usage::of_thread();
/// let work: u64 = (0..1000).sum();
/// let used = Usage::of_thread().since(&before);
/// println!("{work} took {:?}", used.user + used.system);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Time in user mode.
    pub user: Duration,
    /// Time in kernel mode.
    pub system: Duration,
    /// The thread waited.
    pub voluntary: u64,
    /// The thread was preempted.
    pub involuntary: u64,
}

impl Usage {
    /// What the calling thread has used since it began.
    pub fn of_thread() -> Self {
        // getrusage(2) returns what the scheduler last recorded, up to one tick ago. Reading the
        // thread's clock makes the scheduler record now.
        let _ = rustix::time::clock_gettime(ClockId::ThreadCPUTime);
        let mut raw = MaybeUninit::<libc::rusage>::zeroed();
        // SAFETY: `raw` is writable memory for one `struct rusage`; all-zero is a valid value of
        // it, so a refusal (impossible with these arguments) leaves zeros.
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

    /// What the thread used between `before` and `self`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            system: self.system.saturating_sub(before.system),
            voluntary: self.voluntary.saturating_sub(before.voluntary),
            involuntary: self.involuntary.saturating_sub(before.involuntary),
        }
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, more: Self) {
        self.user += more.user;
        self.system += more.system;
        self.voluntary += more.voluntary;
        self.involuntary += more.involuntary;
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn less_than_a_tick_is_seen() {
        for _ in 0..20 {
            let before = Usage::of_thread();
            (0..20_000_u32).for_each(|number| _ = black_box(number));
            let used = Usage::of_thread().since(&before);
            assert!(used.user + used.system > Duration::ZERO, "{used:?}");
        }
    }
}
