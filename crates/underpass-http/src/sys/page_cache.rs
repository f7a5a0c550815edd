//! sendfile(2) of pages that are not in the page cache waits for the disk, on a non-blocking socket
//! too (pitfall 21), and so does reading a mapping. So: look first, and have a blocking thread read
//! what is missing.

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

/// How far one look reaches. It costs some 2 % of sending that much.
pub(crate) const WINDOW: u64 = 4 << 20;

/// For so many milliseconds a window that was seen in the page cache is not looked at again: what
/// is used so often stays.
const BELIEVED_FOR: u64 = 1000;

/// When each window of a file was last seen to be in the page cache: milliseconds of [`clock`], 0
/// for never.
pub(crate) struct ResidencyCache(Box<[AtomicU64]>);

impl ResidencyCache {
    pub(crate) fn new(len: u64) -> Self {
        let never = || AtomicU64::new(0);
        Self((0..len.div_ceil(WINDOW)).map(|_| never()).collect())
    }

    /// Whether the whole window that `offset` lies in is in the page cache of `file`, which has
    /// `len` bytes.
    pub(crate) fn is_at_hand(&self, file: BorrowedFd<'_>, len: u64, offset: u64) -> bool {
        let start = offset - offset % WINDOW;
        let Some(seen) = self.0.get((offset / WINDOW) as usize) else {
            return false;
        };
        let at = seen.load(Relaxed);
        if at != 0 && clock::now().saturating_sub(at) < BELIEVED_FOR {
            return true;
        }
        let is_there = is_resident(file, start, WINDOW.min(len - start));
        if is_there {
            seen.store(clock::now().max(1), Relaxed);
        }
        is_there
    }

    /// The windows of a range may not be there any more.
    fn forget(&self, range: Range<u64>) {
        let windows = (range.start / WINDOW) as usize..range.end.div_ceil(WINDOW) as usize;
        for seen in self.0.get(windows).unwrap_or_default() {
            seen.store(0, Relaxed);
        }
    }
}

/// pread(2), or `WouldBlock` if it may not `wait` and would have to.
///
/// # Errors
/// What reading gave.
pub(crate) fn read(file: &File, buffer: &mut [u8], at: u64, wait: bool) -> io::Result<usize> {
    if !wait {
        let flags = ReadWriteFlags::NOWAIT;
        match preadv2(file, &mut [IoSliceMut::new(buffer)], at, flags) {
            // Some file systems in memory cannot tell; they do not wait either.
            Err(Errno::OPNOTSUPP) => {}
            result => return Ok(result?),
        }
    }
    file.read_at(buffer, at)
}

/// Lets the page cache forget a range, as far as nobody refers to it.
pub(crate) fn forget(file: &File, range: Range<u64>, residency: &ResidencyCache) {
    let len = range.end - range.start;
    // Advice: a page that stays is no loss.
    let _ = fadvise(file, range.start, len.try_into().ok(), Advice::DontNeed);
    residency.forget(range);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;
    use std::os::fd::AsFd as _;

    /// A file on a disk: the page cache of one in memory cannot be dropped.
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
        assert!(residency.is_at_hand(file.as_fd(), 1 << 20, 5000));
        forget(&file, 0..1 << 20, &residency);
        assert!(!residency.is_at_hand(file.as_fd(), 1 << 20, 5000));
        assert!(!is_resident(file.as_fd(), 0, 1 << 20));
        assert!(!is_resident(file.as_fd(), 5000, 1));
        warm(&file, 0, 1 << 20).unwrap();
        assert!(is_resident(file.as_fd(), 0, 1 << 20));
    }
}
