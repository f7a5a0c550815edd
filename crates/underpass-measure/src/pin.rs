//! Sender and receiver each on a processor of its own, so that neither moves and neither waits for
//! the other.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that this thread was allowed when it asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processors {
    allowed: CpuSet,
}

/// The calling thread is pinned until this is dropped.
#[derive(Debug)]
pub(crate) struct Pinned {
    before: CpuSet,
}

impl Processors {
    pub(crate) fn here() -> Self {
        // A kernel that refuses to tell leaves none to choose from: nothing is pinned then.
        let allowed = sched_getaffinity(None).unwrap_or_default();
        Self { allowed }
    }

    pub(crate) fn count(&self) -> usize {
        self.allowed.count() as usize
    }

    /// The calling thread sends.
    pub(crate) fn pin_sender(&self) -> Pinned {
        self.pin(0)
    }

    /// The calling thread receives.
    pub(crate) fn pin_receiver(&self) -> Pinned {
        self.pin(1)
    }

    /// To the `nth` that is allowed. Where there are fewer, or the kernel refuses, the thread goes
    /// where it may.
    fn pin(&self, nth: usize) -> Pinned {
        let mut those = (0..CpuSet::MAX_CPU).filter(|&cpu| self.allowed.is_set(cpu));
        if let Some(processor) = those.nth(nth) {
            let mut only = CpuSet::new();
            only.set(processor);
            let _ = sched_setaffinity(None, &only);
        }
        let before = self.allowed;
        Pinned { before }
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}
