//! sendfile(2) of pages that are not in the page cache waits for the disk, on a non-blocking socket too (pitfall 21), and
//! so does reading a mapping. So: look first, and have a blocking thread read what is missing.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;

use rustix::fs::{Advice, fadvise};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

use crate::sys::cachestat::cached_pages;

/// How far apart single bytes are tried where cachestat(2) is not to be had: the kernel's default read-ahead.
const STRIDE: u64 = 128 << 10;

/// Whether all of `[offset, offset + len)` can be read without waiting. An answer for now: nothing pins the pages.
///
/// `len` is not 0. Two calls, about 2 µs for 4 MiB.
pub(crate) fn is_resident(file: BorrowedFd<'_>, offset: u64, len: u64) -> bool {
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

/// Reads `[offset, offset + len)` into the page cache, and asks for as much after it. Blocks.
///
/// # Errors
/// The disk's. A range beyond the end of the file is no error: whoever sends it finds out.
pub(crate) fn warm(file: &File, offset: u64, len: u64) -> io::Result<()> {
    // Advice: if it is refused, the reads below do it all.
    let _ = fadvise(file, offset, (2 * len).try_into().ok(), Advice::WillNeed);
    let page = rustix::param::page_size() as u64;
    let mut byte = [0];
    // One byte a page waits for the page without copying it.
    let mut at = offset;
    while at < offset + len {
        match file.read_at(&mut byte, at) {
            Ok(0) => break,
            Ok(_) => at = (at / page + 1) * page,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Lets the page cache forget `[offset, offset + len)`, as far as nobody refers to it.
pub(crate) fn forget(file: &File, offset: u64, len: u64) {
    // Advice: a page that stays is no loss.
    let _ = fadvise(file, offset, len.try_into().ok(), Advice::DontNeed);
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
        forget(&file, 0, 1 << 20);
        assert!(!is_resident(file.as_fd(), 0, 1 << 20));
        assert!(!is_resident(file.as_fd(), 5000, 1));
        warm(&file, 0, 1 << 20).unwrap();
        assert!(is_resident(file.as_fd(), 0, 1 << 20));
    }

    #[test]
    fn warming_past_the_end_ends() {
        let file = on_disk(5000);
        warm(&file, 4096, 1 << 20).unwrap();
        warm(&file, 1 << 40, 1 << 20).unwrap();
    }
}
