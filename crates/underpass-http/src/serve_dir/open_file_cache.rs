//! The open-file cache: resources by request path.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::resource::Resource;
use crate::file::descriptors::{self, Holder};

/// The key is the path as it was sent, so that a hit needs no decoding.
pub(super) struct OpenFileCache(Cache<Box<str>, Arc<Resource>, Weight>);

impl OpenFileCache {
    /// A cache for this many descriptors, but at most half of the process's limit.
    pub(super) fn new(entries: usize) -> Arc<Self> {
        let entries = descriptors::at_most_half(entries);
        let this = Arc::new(Self(Cache::with_weighter(entries, entries as u64, Weight)));
        let holder: Arc<dyn Holder> = Arc::clone(&this) as _;
        descriptors::register(Arc::downgrade(&holder));
        this
    }

    pub(super) fn get(&self, path: &str) -> Option<Arc<Resource>> {
        self.0.get(path)
    }

    pub(super) fn insert(&self, path: &str, resource: Arc<Resource>) {
        self.0.insert(path.into(), resource);
    }
}

impl Holder for OpenFileCache {
    fn give_back(&self, keep: u64) -> bool {
        let (held, capacity) = (self.0.weight(), self.0.capacity());
        if held <= keep {
            return false;
        }
        // The cache evicts the entries that are used least.
        self.0.set_capacity((held / 2).max(keep).max(1));
        self.0.set_capacity(capacity);
        let is_less = self.0.weight() < held;
        if !is_less && keep == 0 {
            self.0.clear();
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
