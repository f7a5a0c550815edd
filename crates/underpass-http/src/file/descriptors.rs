//! File descriptors that are held for speed are given back when one is needed and none is left.

use std::io;
use std::sync::{Mutex, PoisonError, Weak};

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Holds descriptors that it can do without.
pub(crate) trait Holder: Send + Sync {
    /// Closes about half of them, as far as nobody uses them, but leaves `keep`. Whether it closed any.
    fn give_back(&self, keep: u64) -> bool;
}

static HOLDERS: Mutex<Vec<Weak<dyn Holder>>> = Mutex::new(Vec::new());

/// Asks `holder` too from now on, as long as it lives.
pub(crate) fn register(holder: Weak<dyn Holder>) {
    let mut holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    holders.retain(|it| it.strong_count() > 0);
    holders.push(holder);
}

/// Has everybody in the process close what they can do without, so that a connection can be accepted. Not all: what is asked
/// for most could not be opened again if the next connection took its place. Whether there was anything.
pub(crate) fn make_room() -> bool {
    const KEEP: u64 = 16;
    give_back(KEEP)
}

fn give_back(keep: u64) -> bool {
    let holders = HOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    let holders: Vec<_> = holders.iter().filter_map(Weak::upgrade).collect();
    holders
        .iter()
        .fold(false, |any, it| it.give_back(keep) | any)
}

/// Opens something; if no descriptor is left, once more after the others gave back some of theirs.
///
/// # Errors
/// What opening gave.
pub(crate) fn open<T>(mut open: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    match open() {
        Err(Errno::MFILE | Errno::NFILE) if give_back(0) => Ok(open()?),
        result => Ok(result?),
    }
}

/// `wanted`, or as many as half of the process's limit: what is held for speed leaves room for connections.
pub(crate) fn at_most_half(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    limit.map_or(wanted, |limit| wanted.min(limit as usize / 2))
}
