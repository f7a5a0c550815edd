//! Whether pages are in the page cache. If they are not, sendfile(2) waits for the disk, even on a
//! non-blocking socket (pitfall 21), and so does reading a mapping. So this is checked first, and a
//! blocking thread reads what is missing.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::clock;
pub(crate) use underpass::page_cache::{is_resident, warm};

/// The size of the range that is checked at a time. The check takes about 2 % of the time of
/// sending it.
pub(crate) const WINDOW: u64 = 4 << 20;

/// For how many milliseconds a window that was in the page cache is not checked again. Pages that
/// are used so often stay.
const RECHECK_AFTER: u64 = 1000;

/// When each window of a file was last seen in the page cache: in milliseconds of [`clock`], 0 for
/// never.
pub(crate) struct ResidencyCache(Box<[AtomicU64]>);

impl ResidencyCache {
    pub(crate) fn new(len: u64) -> Self {
        let never = || AtomicU64::new(0);
        Self((0..len.div_ceil(WINDOW)).map(|_| never()).collect())
    }

    /// Whether the whole window that `offset` lies in is in the page cache of `file`, which has
    /// `len` bytes.
    pub(crate) fn is_in_page_cache(&self, file: BorrowedFd<'_>, len: u64, offset: u64) -> bool {
        let start = offset - offset % WINDOW;
        let Some(seen) = self.0.get((offset / WINDOW) as usize) else {
            return false;
        };
        let at = seen.load(Relaxed);
        if at != 0 && clock::now().saturating_sub(at) < RECHECK_AFTER {
            return true;
        }
        let is_there = is_resident(file, start, WINDOW.min(len - start));
        if is_there {
            seen.store(clock::now().max(1), Relaxed);
        }
        is_there
    }

    /// Forgets when the windows of a range were seen.
    fn forget(&self, range: Range<u64>) {
        let windows = (range.start / WINDOW) as usize..range.end.div_ceil(WINDOW) as usize;
        for seen in self.0.get(windows).unwrap_or_default() {
            seen.store(0, Relaxed);
        }
    }
}

/// Reads at an offset. If `wait` is false, it returns `WouldBlock` instead of waiting for the disk.
///
/// # Errors
/// Those of reading.
pub(crate) fn read(file: &File, buffer: &mut [u8], at: u64, wait: bool) -> io::Result<usize> {
    if !wait {
        let flags = ReadWriteFlags::NOWAIT;
        match preadv2(file, &mut [IoSliceMut::new(buffer)], at, flags) {
            // Some in-memory file systems do not support the flag; they do not wait either.
            Err(Errno::OPNOTSUPP) => {}
            result => return Ok(result?),
        }
    }
    file.read_at(buffer, at)
}

/// Drops a range from the page cache, except pages that are in use.
pub(crate) fn forget(file: &File, range: Range<u64>, residency: &ResidencyCache) {
    let len = range.end - range.start;
    // It is advice only, so errors do not matter.
    let _ = fadvise(file, range.start, len.try_into().ok(), Advice::DontNeed);
    residency.forget(range);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    /// A file on a disk. The page cache of a file system in memory cannot be dropped.
    fn on_disk(len: usize) -> File {
        let directory = env!("CARGO_MANIFEST_DIR");
        let mut file = tempfile::tempfile_in(directory).unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file.sync_all().unwrap();
        file
    }

    #[test]
    fn what_is_dropped_is_seen_to_be_gone_and_comes_back() {
        let file = on_disk(1 << 20);
        assert!(is_resident(file.as_fd(), 0, 1 << 20));
        let residency = ResidencyCache::new(1 << 20);
        assert!(residency.is_in_page_cache(file.as_fd(), 1 << 20, 5000));
        forget(&file, 0..1 << 20, &residency);
        assert!(!residency.is_in_page_cache(file.as_fd(), 1 << 20, 5000));
        assert!(!is_resident(file.as_fd(), 0, 1 << 20));
        assert!(!is_resident(file.as_fd(), 5000, 1));
        warm(&file, 0, 1 << 20).unwrap();
        assert!(is_resident(file.as_fd(), 0, 1 << 20));
    }
}
