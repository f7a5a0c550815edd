//! Makes caches of open files close descriptors when the process has none left.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// A cache that holds descriptors that it could close.
pub(crate) trait Holder: Send + Sync {
    /// Closes about half of the descriptors that are not in use, but keeps `keep` of them. Returns
    /// whether any was closed.
    fn give_back(&self, keep: u64) -> bool;

    /// Closes the local files of objects that have left their store's cache, because their room is
    /// not free before.
    fn let_go(&self);
}

static HOLDERS: Mutex<Vec<Weak<dyn Holder>>> = Mutex::new(Vec::new());

/// From now on `holder` is asked to close descriptors too, for as long as it lives.
pub(crate) fn register(holder: Weak<dyn Holder>) {
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    holders.retain(|it| it.strong_count() > 0);
    holders.push(holder);
}

/// Closes cached files so that a connection can be accepted. The most used ones stay open, because
/// they could not be opened again if the next connection took their descriptor. Returns whether any
/// was closed.
pub(crate) fn make_room() -> bool {
    const KEEP: u64 = 16;
    give_back(KEEP)
}

/// Closes the local files of objects that have left their store's cache.
pub(crate) fn let_go() {
    for holder in holders() {
        holder.let_go();
    }
}

fn holders() -> Vec<Arc<dyn Holder>> {
    let holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    holders.iter().filter_map(Weak::upgrade).collect()
}

fn give_back(keep: u64) -> bool {
    holders()
        .iter()
        .fold(false, |any, it| it.give_back(keep) | any)
}

/// Calls `open`. If no descriptor is left, it closes cached files and tries once more.
///
/// # Errors
///
/// What `open` returned.
pub(crate) fn open<T>(mut open: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    match open() {
        Err(Errno::MFILE | Errno::NFILE) if give_back(0) => Ok(open()?),
        result => Ok(result?),
    }
}

/// `wanted`, but at most half of the process's limit, so that caches leave room for connections.
pub(crate) fn at_most_half(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(wanted, |limit| wanted.min(limit as usize / 2))
}
