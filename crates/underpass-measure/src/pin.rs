//! Pins sender and receiver to a processor each, so that neither is moved and neither waits for the
//! other.

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The processors that the thread was allowed to use when this was made.
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
        // If the kernel does not say which processors are allowed, nothing is pinned.
        let allowed = sched_getaffinity(None).unwrap_or_default();
        Self { allowed }
    }

    pub(crate) fn count(&self) -> usize {
        self.allowed.count() as usize
    }

    /// Pins the calling thread as the sender.
    pub(crate) fn pin_sender(&self) -> Pinned {
        self.pin(0)
    }

    /// Pins the calling thread as the receiver.
    pub(crate) fn pin_receiver(&self) -> Pinned {
        self.pin(1)
    }

    /// Pins the thread to the `nth` allowed processor. If there are fewer, or the kernel refuses,
    /// the thread is not pinned.
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
