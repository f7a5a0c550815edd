//! The open-file cache: resources by request path.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::resource::Resource;
use crate::clock;
use crate::file::descriptors::{self, Holder};

/// Objects that have left their store's cache are looked for no more often than this, in
/// milliseconds: it takes some microseconds for a thousand files.
const LOOK_AGAIN: u64 = 100;

/// The key is the path as it was sent, so that a hit needs no decoding.
pub(super) struct OpenFileCache {
    files: Cache<Box<str>, Arc<Resource>, Weight>,
    /// When objects that have left were let go last.
    looked: AtomicU64,
}

impl OpenFileCache {
    /// A cache for this many descriptors, but at most half of the process's limit.
    pub(super) fn new(entries: usize) -> Arc<Self> {
        let entries = descriptors::at_most_half(entries);
        let this = Arc::new(Self {
            files: Cache::with_weighter(entries, entries as u64, Weight),
            looked: AtomicU64::new(0),
        });
        let holder: Arc<dyn Holder> = Arc::clone(&this) as _;
        descriptors::register(Arc::downgrade(&holder));
        this
    }

    pub(super) fn get(&self, path: &str) -> Option<Arc<Resource>> {
        self.files.get(path)
    }

    pub(super) fn insert(&self, path: &str, resource: Arc<Resource>) {
        // What is asked for now takes the place of others.
        if resource.is_of_a_store() {
            self.let_go_now_and_then();
        }
        self.files.insert(path.into(), resource);
    }

    /// Lets go of objects that have left their store's cache: until then, their room is not free.
    pub(super) fn let_go_now_and_then(&self) {
        if self.is_time_to_look() {
            self.let_go();
        }
    }

    fn is_time_to_look(&self) -> bool {
        let (before, now) = (self.looked.load(Relaxed), clock::now());
        let is_time = now.saturating_sub(before) >= LOOK_AGAIN;
        is_time
            && self
                .looked
                .compare_exchange(before, now, Relaxed, Relaxed)
                .is_ok()
    }
}

impl Holder for OpenFileCache {
    fn let_go(&self) {
        self.files.retain(|_, resource| !resource.has_left());
    }

    fn give_back(&self, keep: u64) -> bool {
        let (held, capacity) = (self.files.weight(), self.files.capacity());
        if held <= keep {
            return false;
        }
        // The cache evicts the entries that are used least.
        self.files.set_capacity((held / 2).max(keep).max(1));
        self.files.set_capacity(capacity);
        let is_less = self.files.weight() < held;
        if !is_less && keep == 0 {
            self.files.clear();
        }
        is_less || keep == 0
    }
}

#[derive(Clone)]
struct Weight;

impl Weighter<Box<str>, Arc<Resource>> for Weight {
    fn weight(&self, _: &Box<str>, resource: &Arc<Resource>) -> u64 {
        resource.descriptors()
    }
}
