//! Asks which parts of a file are in the page cache, and reads parts into it.
//!
//! sendfile(2), splice(2) and read(2) wait for the disk if a page is not in the page cache, even
//! with a non-blocking socket (pitfall 21). A program that must not wait checks first, and lets
//! another thread read what is missing, as the tokio driver does.

use std::io::{self, IoSliceMut};
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rustix::fd::AsFd;
use rustix::fs::{Advice, FileType, fadvise, fstat, fstatfs};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};

use crate::sys::cachestat::cached_pages;

/// Distance between the bytes that are tried if cachestat(2) is refused: the kernel's default
/// read-ahead.
const STRIDE: u64 = 128 << 10;

/// Whether all of `[offset, offset + len)`, in bytes, can be read without waiting. The answer holds
/// for the moment only: nothing pins the pages. Past the end of the file there is nothing to wait
/// for.
///
/// This takes two calls, about 2 µs for 4 MiB: cachestat(2) of Linux 6.5 and preadv2(2) with
/// `RWF_NOWAIT`. Since Linux 6.15 the first is allowed only to those who own the file or may write
/// to it. If it is refused, one byte in every 128 KiB is tried, which takes about 13 µs for 4 MiB
/// and may miss a shorter gap.
///
/// ```
/// let file = std::fs::File::open("/proc/self/exe")?;
/// underpass::page_cache::warm(&file, 0, 4096)?;
/// assert!(underpass::page_cache::is_resident(&file, 0, 4096));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn is_resident(file: impl AsFd, offset: u64, len: u64) -> bool {
    let file = file.as_fd();
    let end = offset.saturating_add(len);
    if offset == end {
        return true;
    }
    match cached_pages(file, offset, end - offset) {
        Ok(cached) if cached >= pages(offset, end) => is_read(file, end),
        // Past the end of the file no page is cached.
        Ok(cached) => match size(file) {
            Some(size) if size <= offset => true,
            Some(size) if size < end => cached >= pages(offset, size) && is_read(file, size),
            _ => false,
        },
        Err(_) => is_resident_in_samples(file, offset, end),
    }
}

/// The number of pages that contain `offset..end`, which is not empty.
fn pages(offset: u64, end: u64) -> u64 {
    let page = rustix::param::page_size() as u64;
    end.div_ceil(page) - offset / page
}

/// Whether the last page has been read. Pages that read-ahead has only requested count as cached;
/// it requests them in order, so the last one decides.
fn is_read(file: BorrowedFd<'_>, end: u64) -> bool {
    !matches!(try_byte(file, end - 1), Err(Errno::AGAIN))
}

/// The size of a regular file.
fn size(file: BorrowedFd<'_>) -> Option<u64> {
    let stat = fstat(file).ok()?;
    (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile).then_some(stat.st_size as u64)
}

/// Tries the first byte, the last, and one in every [`STRIDE`], at offsets that differ from call to
/// call. Trying a missing page makes the kernel read it, so the same offsets would find only that
/// page the next time.
fn is_resident_in_samples(file: BorrowedFd<'_>, offset: u64, end: u64) -> bool {
    static LOOKS: AtomicU64 = AtomicU64::new(0);
    // Multiples of the golden ratio spread evenly (Knuth's multiplicative hashing).
    let spread = LOOKS
        .fetch_add(1, Relaxed)
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        >> 32;
    let between = offset.saturating_add(1 + spread % STRIDE)..end - 1;
    let between = between.step_by(STRIDE as usize);
    for at in [offset].into_iter().chain(between).chain([end - 1]) {
        match try_byte(file, at) {
            // The end of the file.
            Ok(0) => return true,
            Ok(_) => {}
            Err(Errno::OPNOTSUPP) => return is_in_memory(file),
            Err(_) => return false,
        }
    }
    true
}

/// Whether the file system is in memory, without a disk to wait for. Some of those do not support
/// `RWF_NOWAIT`.
fn is_in_memory(file: BorrowedFd<'_>) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const RAMFS: u64 = 0x8584_58f6;
    fstatfs(file).is_ok_and(|stat| matches!(stat.f_type as u64 & 0xffff_ffff, TMPFS | RAMFS))
}

/// Reads `[offset, offset + len)`, in bytes, into the page cache, and requests read-ahead of as
/// much again. Waits for the disk; copies one byte for each page.
///
/// # Errors
/// Those of the disk. A range beyond the end of the file is not an error: sending it will find out.
pub fn warm(file: impl AsFd, offset: u64, len: u64) -> io::Result<()> {
    let file = file.as_fd();
    let end = offset.saturating_add(len);
    // This is advice to the kernel. If it is refused, the reads below do all the work.
    let _ = fadvise(
        file,
        offset,
        len.saturating_mul(2).try_into().ok(),
        Advice::WillNeed,
    );
    let page = rustix::param::page_size() as u64;
    let mut byte = [0];
    // Reading one byte of each page waits for the page without copying it.
    let mut at = offset;
    while at < end {
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

    /// A file on a disk. The page cache of a file system in memory cannot be dropped.
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
