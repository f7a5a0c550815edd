//! One reserved range of addresses in which all mappings are placed. One comparison tells whether a
//! slice is part of a file, and one table lookup tells which file.

use std::collections::BTreeMap;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, PoisonError};

use rustix::io::{Errno, Result};
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags, mmap_anonymous, mprotect, munmap};

/// Mappings start at multiples of this, and each multiple has an entry in the table. 2 MiB lets the
/// kernel use huge pages.
const UNIT: usize = 2 << 20;

/// The size of the range. It is halved until the kernel grants it, because `RLIMIT_AS` may be set.
/// It takes no memory until a file is mapped.
const WANTED: usize = 16 << 40;

/// The smallest range that is of use.
const LEAST: usize = 1 << 30;

/// `T` is the type of owners: a mapping.
pub(super) struct AddressSpace<T> {
    start: usize,
    units: usize,
    /// The owner of each unit; null for none. Read by the signal handler, so it must not need a
    /// lock.
    owners: NonNull<AtomicPtr<T>>,
    /// Free runs of units: first unit → count.
    free: Mutex<BTreeMap<usize, usize>>,
}

// SAFETY: `owners` points to memory that lives as long as the process and is only accessed as
// atomics.
unsafe impl<T: Sync> Send for AddressSpace<T> {}
// SAFETY: as above; `free` is behind a mutex.
unsafe impl<T: Sync> Sync for AddressSpace<T> {}

impl<T> AddressSpace<T> {
    /// Reserves the range; `None` if the kernel grants none.
    pub(super) fn reserve() -> Option<Self> {
        let mut len = WANTED;
        let base = loop {
            if let Ok(base) = reserve_addresses(len) {
                break base;
            }
            len /= 2;
            if len < LEAST {
                return None;
            }
        };
        let start = base.addr().next_multiple_of(UNIT);
        let units = (base.addr() + len - start) / UNIT;
        let owners = table(units)?;
        Some(Self {
            start,
            units,
            owners,
            free: Mutex::new(BTreeMap::from([(0, units)])),
        })
    }

    /// Takes the first free run of at least `len` bytes, and returns its start.
    pub(super) fn take(&self, len: usize) -> Result<usize> {
        let wanted = len.div_ceil(UNIT).max(1);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let (&first, &count) = free
            .iter()
            .find(|&(_, &count)| count >= wanted)
            .ok_or(Errno::NOMEM)?;
        free.remove(&first);
        if count > wanted {
            free.insert(first + wanted, count - wanted);
        }
        Ok(self.start + first * UNIT)
    }

    /// Returns a run. Its pages must have been replaced by a reservation.
    pub(super) fn give_back(&self, start: usize, len: usize) {
        let mut first = (start - self.start) / UNIT;
        let mut count = len.div_ceil(UNIT).max(1);
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(after) = free.remove(&(first + count)) {
            count += after;
        }
        if let Some((&before, &length)) = free.range(..first).next_back()
            && before + length == first
        {
            free.remove(&before);
            first = before;
            count += length;
        }
        free.insert(first, count);
    }

    /// Whether an address lies in the range.
    pub(super) fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.start) < self.units * UNIT
    }

    /// The owner of an address; null for none.
    pub(super) fn owner(&self, address: usize) -> *mut T {
        if self.contains(address) {
            self.entry((address - self.start) / UNIT)
                .load(Ordering::Acquire)
        } else {
            ptr::null_mut()
        }
    }

    /// Sets the owner of a run; null for none.
    pub(super) fn set_owner(&self, start: usize, len: usize, owner: *mut T) {
        let first = (start - self.start) / UNIT;
        for unit in first..first + len.div_ceil(UNIT).max(1) {
            self.entry(unit).store(owner, Ordering::Release);
        }
    }

    fn entry(&self, unit: usize) -> &AtomicPtr<T> {
        assert!(unit < self.units, "unit {unit} of {}", self.units);
        // SAFETY: the table has `units` entries, zeroed by the kernel, which is a null AtomicPtr,
        // and is never unmapped.
        unsafe { self.owners.add(unit).as_ref() }
    }
}

fn reserve_addresses(len: usize) -> Result<*mut std::ffi::c_void> {
    let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
    // SAFETY: a new anonymous mapping at a place of the kernel's choice touches nothing that
    // exists.
    unsafe { mmap_anonymous(ptr::null_mut(), len, ProtFlags::empty(), flags) }
}

/// A zeroed table whose pages cost nothing until they are written.
fn table<T>(units: usize) -> Option<NonNull<AtomicPtr<T>>> {
    let len = units * size_of::<AtomicPtr<T>>();
    let base = reserve_addresses(len).ok()?;
    // SAFETY: the range was mapped just above and nobody else knows of it.
    if unsafe { mprotect(base, len, MprotectFlags::READ | MprotectFlags::WRITE) }.is_err() {
        // SAFETY: as above.
        let _ = unsafe { munmap(base, len) };
        return None;
    }
    NonNull::new(base.cast())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_reused_and_joined() {
        let space = AddressSpace::<()> {
            start: UNIT,
            units: 8,
            owners: NonNull::dangling(),
            free: Mutex::new(BTreeMap::from([(0, 8)])),
        };
        let first = space.take(1).unwrap();
        let second = space.take(3 * UNIT).unwrap();
        let third = space.take(UNIT + 1).unwrap();
        assert_eq!((first, second, third), (UNIT, 2 * UNIT, 5 * UNIT));
        assert_eq!(space.take(3 * UNIT), Err(Errno::NOMEM));
        space.give_back(first, 1);
        space.give_back(third, UNIT + 1);
        space.give_back(second, 3 * UNIT);
        assert_eq!(*space.free.lock().unwrap(), BTreeMap::from([(0, 8)]));
    }

    #[test]
    fn an_address_outside_has_no_owner() {
        let space = AddressSpace::<()>::reserve().unwrap();
        let here = 0_u8;
        assert!(space.owner(ptr::from_ref(&here).addr()).is_null());
        assert!(space.owner(0).is_null());
        assert!(space.owner(usize::MAX).is_null());
    }
}
