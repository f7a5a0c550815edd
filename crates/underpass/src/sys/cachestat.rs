//! cachestat(2), Linux 6.5 and newer: how much of a range of a file is in the page cache.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::{Errno, Result};

#[repr(C)]
struct Range {
    offset: u64,
    len: u64,
}

#[repr(C)]
#[derive(Default)]
struct Stat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

/// The number is the same on every architecture (unified since 5.1).
const SYS_CACHESTAT: libc::c_long = 451;

/// How many pages of `file` in `[offset, offset + len)` are in the page cache, including those that
/// are still being read.
///
/// # Errors
///
/// `ENOSYS` before Linux 6.5, `EOPNOTSUPP` on hugetlbfs, and `EPERM` if the process neither owns
/// the file nor may write to it (since 6.15).
pub(crate) fn cached_pages(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<u64> {
    let range = Range { offset, len };
    let mut stat = Stat::default();
    // SAFETY: both structures have the kernel's layout (linux/mman.h) and live through the call.
    let result = unsafe {
        libc::syscall(
            SYS_CACHESTAT,
            file.as_raw_fd(),
            &raw const range,
            &raw mut stat,
            0_u32,
        )
    };
    if result == 0 {
        Ok(stat.cached)
    } else {
        Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::NOSYS))
    }
}
