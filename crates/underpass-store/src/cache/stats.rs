//! What a cache did so far.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a cache did so far. All are counts since it was opened, but for the last four.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct CacheStats {
            $($(#[$doc])* pub $name: u64,)*
            /// Objects and absences that are known without asking the store.
            pub objects: u64,
            /// Files on the disk.
            pub files: u64,
            /// Bytes that they take.
            pub bytes_on_disk: u64,
            /// Blocks that are being fetched now.
            pub fetching: u64,
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
            pub(crate) fetching: AtomicU64,
        }

        impl Counters {
            pub(crate) fn read(&self, objects: u64, files: u64, bytes_on_disk: u64) -> CacheStats {
                let fetching = self.fetching.load(Relaxed);
                $(let $name = self.$name.load(Relaxed);)*
                CacheStats { $($name,)* objects, files, bytes_on_disk, fetching }
            }
        }
    };
}

counts! {
    /// Objects that were asked for.
    lookups,
    /// Of these, the ones that were known well enough not to ask the store.
    fresh,
    /// Of these, the ones that the store said are not there, or that failed, moments before.
    negative,
    /// Requests to the store for what it says of an object.
    revalidations,
    /// Objects that were given out unverified because the store could not be asked.
    stale,
    /// Objects that were replaced in the store while something of them was in the cache.
    changed,
    /// Blocks that were fetched from the store.
    fills,
    /// Of these, the ones that nobody had asked for yet.
    read_ahead,
    /// Blocks that could not be fetched.
    failed_fills,
    /// Bytes of bodies that came from the store. The CPU copied each of them at least twice: out of
    /// the socket and into the file. What is sent from the file afterwards is not copied.
    bytes_from_store,
    /// Blocks of an earlier run whose checksum was right.
    verified,
    /// Blocks of an earlier run whose checksum was wrong. They were fetched again.
    damaged,
    /// Files that were removed: for room, for age, or because the object was replaced.
    evictions,
    /// Bytes that they took.
    evicted_bytes,
    /// Times that the disk was full.
    disk_full,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    pub(crate) fn evicted(&self, bytes: u64) {
        Self::add(&self.evictions, 1);
        Self::add(&self.evicted_bytes, bytes);
    }
}
