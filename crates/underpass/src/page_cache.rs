//! What of a file is in the page cache, and having it there.
//!
//! sendfile(2) and splice(2) of a page that is not in the page cache wait for the disk, and so does reading it: on a
//! non-blocking socket too (pitfall 21). So a program that must not wait looks first, and has another thread read what is
//! missing, as the driver on tokio does.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;

use rustix::fd::AsFd;
use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

use crate::sys::cachestat::cached_pages;

/// How far apart single bytes are tried where cachestat(2) is not to be had: the kernel's default read-ahead.
const STRIDE: u64 = 128 << 10;

/// Whether all of `[offset, offset + len)`, in bytes, can be read without waiting. An answer for now: nothing pins the pages.
///
/// Two calls (cachestat(2) of Linux 6.5, preadv2(2) with `RWF_NOWAIT`), about 2 µs for 4 MiB; where the first is not to be had,
/// one of the second every 128 KiB. Past the end of the file there is nothing to wait for.
///
/// ```
/// let file = std::fs::File::open("/proc/self/exe")?;
/// underpass::page_cache::warm(&file, 0, 4096)?;
/// assert!(underpass::page_cache::is_resident(&file, 0, 4096));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_resident(file: impl AsFd, offset: u64, len: u64) -> bool {
    let file = file.as_fd();
    if len == 0 {
        return true;
    }
    let page = rustix::param::page_size() as u64;
    let pages = (offset + len).div_ceil(page) - offset / page;
    match cached_pages(file, offset, len) {
        Ok(cached) if cached < pages => false,
        // Pages that read-ahead has only asked for count as cached; it asks in order, so the last one tells.
        Ok(_) => !matches!(try_byte(file, offset + len - 1), Err(Errno::AGAIN)),
        Err(_) => (offset..offset + len)
            .step_by(STRIDE as usize)
            .chain([offset + len - 1])
            .all(|at| try_byte(file, at).is_ok()),
    }
}

/// Reads `[offset, offset + len)`, in bytes, into the page cache, and asks for as much after it. Waits for the disk; copies a
/// byte a page.
///
/// # Errors
/// The disk's. A range beyond the end of the file is no error: whoever sends it finds out.
pub fn warm(file: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let file = file.as_fd();
    // Advice: if it is refused, the reads below do it all.
    let _ = fadvise(file, offset, (2 * len).try_into().ok(), Advice::WillNeed);
    let page = rustix::param::page_size() as u64;
    let mut byte = [0];
    // One byte a page waits for the page without copying it.
    let mut at = offset;
    while at < offset + len {
        match pread(file, &mut byte, at) {
            Ok(0) => break,
            Ok(_) => at = (at / page + 1) * page,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// preadv2(2) with `RWF_NOWAIT`: `EAGAIN` where it would wait.
fn try_byte(file: BorrowedFd<'_>, at: u64) -> Result<usize, Errno> {
    let mut byte = [0];
    preadv2(
        file,
        &mut [IoSliceMut::new(&mut byte)],
        at,
        ReadWriteFlags::NOWAIT,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// A file on a disk: the page cache of one in memory cannot be dropped.
    fn on_disk(len: usize) -> std::fs::File {
        let mut file = tempfile::tempfile_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        file.write_all(&vec![7; len]).unwrap();
        file.sync_all().unwrap();
        file
    }

    #[test]
    fn pitfall_21_what_is_dropped_is_seen_to_be_gone_and_comes_back() {
        let file = on_disk(1 << 20);
        assert!(is_resident(&file, 0, 1 << 20));
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        assert!(!is_resident(&file, 0, 1 << 20));
        assert!(!is_resident(&file, 5000, 1));
        warm(&file, 0, 1 << 20).unwrap();
        assert!(is_resident(&file, 0, 1 << 20));
    }

    #[test]
    fn warming_past_the_end_ends() {
        let file = on_disk(5000);
        warm(&file, 4096, 1 << 20).unwrap();
        warm(&file, 1 << 40, 1 << 20).unwrap();
    }
}
