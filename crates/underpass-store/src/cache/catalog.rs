//! What is on the cache's disk, and what leaves it first.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use super::directory::{Directory, FileName, Found};
use super::stats::Counters;

/// All files of the cache.
#[derive(Debug)]
pub(crate) struct Catalog {
    directory: Directory,
    files: Mutex<BTreeMap<FileName, Arc<Usage>>>,
    bytes: AtomicU64,
    evicting: Mutex<()>,
    on_removed: OnceLock<OnRemoved>,
    max_bytes: u64,
    max_age: Option<Duration>,
    started: Instant,
}

/// Told of each file that was removed: until it is closed, its room is not free.
struct OnRemoved(Box<dyn Fn(FileName) + Send + Sync>);

impl fmt::Debug for OnRemoved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRemoved")
    }
}

/// How much room one file takes, and when it was last used.
#[derive(Debug)]
pub(crate) struct Usage {
    pub(crate) name: FileName,
    bytes: AtomicU64,
    /// In milliseconds since the catalog's beginning, plus [`BEFORE`].
    used: AtomicU64,
    evicted: AtomicBool,
}

/// Times before the start of this process must not be negative: 100 years.
const BEFORE: u64 = 100 * 365 * 86_400_000;

impl Catalog {
    pub(crate) fn new(
        directory: Directory,
        found: Vec<Found>,
        max_bytes: u64,
        max_age: Option<Duration>,
    ) -> Self {
        let bytes = AtomicU64::new(found.iter().map(|it| it.bytes).sum());
        let known = |it: Found| {
            let unused = it.unused.as_millis().min(u128::from(BEFORE)) as u64;
            let usage = Usage {
                name: it.name,
                bytes: AtomicU64::new(it.bytes),
                used: AtomicU64::new(BEFORE - unused),
                evicted: AtomicBool::new(false),
            };
            (it.name, Arc::new(usage))
        };
        Self {
            directory,
            files: Mutex::new(found.into_iter().map(known).collect()),
            bytes,
            evicting: Mutex::default(),
            on_removed: OnceLock::new(),
            max_bytes,
            max_age,
            started: Instant::now(),
        }
    }

    /// Sets who is told of each file that was removed. It may not remove others.
    pub(crate) fn on_removed(&self, tell: impl Fn(FileName) + Send + Sync + 'static) {
        // Set once, when the cache is opened.
        let _ = self.on_removed.set(OnRemoved(Box::new(tell)));
    }

    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The usage of a file that is there or will be.
    pub(crate) fn usage(&self, name: FileName) -> Arc<Usage> {
        let fresh = || {
            Arc::new(Usage {
                name,
                bytes: AtomicU64::new(0),
                used: AtomicU64::new(0),
                evicted: AtomicBool::new(false),
            })
        };
        let usage = Arc::clone(self.lock().entry(name).or_insert_with(fresh));
        self.touch(&usage);
        usage
    }

    /// Whether there is a file of any of these names.
    pub(crate) fn has_any(&self, names: RangeInclusive<FileName>) -> bool {
        self.lock().range(names).next().is_some()
    }

    /// Says that a file is being used.
    pub(crate) fn touch(&self, usage: &Usage) {
        usage.used.store(self.now(), Relaxed);
    }

    /// Counts room that a file will take. Those who need room at the same time see each other's.
    pub(crate) fn reserve(&self, usage: &Usage, bytes: u64) {
        let _locked = self.lock();
        usage.bytes.fetch_add(bytes, Relaxed);
        if !usage.is_evicted() {
            self.bytes.fetch_add(bytes, Relaxed);
        }
    }

    /// Takes back what [`reserve`](Self::reserve) counted.
    pub(crate) fn release(&self, usage: &Usage, bytes: u64) {
        let _locked = self.lock();
        usage.bytes.fetch_sub(bytes, Relaxed);
        if !usage.is_evicted() {
            self.bytes.fetch_sub(bytes, Relaxed);
        }
    }

    /// On the disk, as far as files still have names.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn count(&self) -> u64 {
        self.lock().len() as u64
    }

    /// Removes what was used least recently until what is reserved fits. `for_whom` goes last.
    ///
    /// It makes system calls that can take a while.
    pub(crate) fn make_room(&self, for_whom: &Usage, counters: &Counters) {
        // One at a time: what another one removes now is not missing room any more.
        let _alone = self.evicting.lock().unwrap_or_else(PoisonError::into_inner);
        let over = self.bytes().saturating_sub(self.max_bytes);
        if over > 0 && self.free_others(over, for_whom, counters) < over {
            self.remove(for_whom, counters);
        }
    }

    /// Removes what was used least recently until `bytes` are free, but not the file that needs
    /// them. Returns how many were.
    pub(crate) fn free_others(&self, bytes: u64, for_whom: &Usage, counters: &Counters) -> u64 {
        let candidates: Vec<_> = {
            let files = self.lock();
            let size = |usage: &Arc<Usage>| usage.bytes.load(Relaxed);
            let others = files.values().filter(|usage| usage.name != for_whom.name);
            let others = others.filter(|usage| size(usage) > 0);
            let others = others.map(|it| (it.used.load(Relaxed), size(it), Arc::clone(it)));
            others.collect()
        };
        let mut freed = 0;
        for (usage, size) in first_to_go(candidates, bytes) {
            self.remove(&usage, counters);
            freed += size;
        }
        freed
    }

    /// Removes what nobody used for too long.
    pub(crate) fn remove_old(&self, counters: &Counters) {
        let Some(max_age) = self.max_age else {
            return;
        };
        let max_age = u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX);
        let oldest = self.now().saturating_sub(max_age);
        let old: Vec<_> = {
            let files = self.lock();
            let old = files
                .values()
                .filter(|usage| usage.used.load(Relaxed) <= oldest);
            old.cloned().collect()
        };
        for usage in old {
            self.remove(&usage, counters);
        }
    }

    /// Takes a file out of the cache, because there is another version of the object.
    pub(crate) fn remove(&self, usage: &Usage, counters: &Counters) {
        if !self.forget(usage, counters) {
            return;
        }
        if let Some(OnRemoved(tell)) = self.on_removed.get() {
            tell(usage.name);
        }
    }

    /// Whether the file was in the cache until now.
    fn forget(&self, usage: &Usage, counters: &Counters) -> bool {
        let mut files = self.lock();
        if usage.evicted.swap(true, Release) {
            return false;
        }
        // Unlinked while locked: afterwards the name may be another file's.
        self.directory.unlink(usage.name);
        files.remove(&usage.name);
        let bytes = usage.bytes.load(Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
        counters.evicted(bytes);
        true
    }

    fn now(&self) -> u64 {
        BEFORE + self.started.elapsed().as_millis() as u64
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<FileName, Arc<Usage>>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Usage {
    /// Whether the file has no name any more.
    pub(crate) fn is_evicted(&self) -> bool {
        self.evicted.load(Acquire)
    }
}

/// Those of the candidates, by ascending key, whose sizes reach `bytes`.
fn first_to_go<K: Ord, T>(mut candidates: Vec<(K, u64, T)>, bytes: u64) -> Vec<(T, u64)> {
    candidates.sort_by(|one, other| one.0.cmp(&other.0));
    let mut freed = 0;
    let enough = candidates.into_iter().take_while(|(_, size, _)| {
        let still_needed = freed < bytes;
        freed += size;
        still_needed
    });
    enough.map(|(_, size, it)| (it, size)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_oldest_go_and_no_more_than_needed(
            sizes in prop::collection::vec(1_u64..100, 0..30), bytes in 0_u64..2000,
        ) {
            let candidates = sizes.iter().enumerate().rev().map(|(at, size)| (at, *size, at)).collect();
            let gone = first_to_go(candidates, bytes);
            let freed: u64 = gone.iter().map(|(_, size)| size).sum();
            prop_assert!(gone.iter().map(|(at, _)| *at).eq(0..gone.len()));
            prop_assert!(freed >= bytes.min(sizes.iter().sum()));
            if let Some((_, last)) = gone.last() {
                prop_assert!(freed - last < bytes);
            }
        }
    }
}
