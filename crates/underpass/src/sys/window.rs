//! A part of a file, mapped for as long as its bytes are read.

use std::cell::Cell;
use std::ops::Range;
use std::ptr;
use std::sync::Once;

use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

use super::{Fd, Result, lost_pages};

thread_local! {
    /// The addresses that this thread reads just now.
    static READING: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// A page among them was lost.
    static LOST: Cell<bool> = const { Cell::new(false) };
}

/// Claims lost pages for the window that this thread reads. Runs in a signal handler: both
/// thread-locals are constant at first and have no destructor, so that nothing is allocated.
fn claim(address: usize) -> bool {
    let (start, end) = READING.get();
    let is_ours = (start..end).contains(&address);
    if is_ours {
        LOST.set(true);
    }
    is_ours
}

/// A part of a file, mapped read-only. Its pages are the file's own.
#[derive(Debug)]
pub(crate) struct Window {
    /// Of the mapping; an address and not a pointer, so that a window can go to another thread.
    address: usize,
    len: usize,
    /// The place of its first byte in the file.
    offset: u64,
}

impl Window {
    /// Maps about `len` bytes of `file` around the page that `offset` lies in.
    pub(crate) fn map(file: Fd<'_>, offset: u64, len: usize) -> Result<Self> {
        static CLAIM: Once = Once::new();
        CLAIM.call_once(|| {
            // SAFETY: `claim` only reads and sets thread-locals without destructors, and claims
            // what lies in a window that this thread reads.
            unsafe { lost_pages::claim(claim) };
        });
        let before = offset % rustix::param::page_size() as u64;
        let (offset, len) = (offset - before, len.saturating_add(before as usize));
        if len == 0 {
            return Err(Errno::INVAL);
        }
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let address = unsafe { mmap(ptr::null_mut(), len, ProtFlags::READ, flags, file, offset) }?;
        Ok(Self {
            address: address.expose_provenance(),
            len,
            offset,
        })
    }

    /// The bytes of the file that it has.
    pub(crate) fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.len as u64
    }

    /// Calls `read` with the bytes of `range`, which lies in [`Self::range`], and with a question:
    /// whether pages of them were lost until now, because the file was truncated, so that there
    /// were zeros in their place.
    pub(crate) fn read<R>(
        &self,
        range: Range<u64>,
        read: impl FnOnce(&[u8], fn() -> bool) -> R,
    ) -> R {
        /// Ends the reading, also when `read` panics.
        struct Reading;
        impl Drop for Reading {
            fn drop(&mut self) {
                READING.set((0, 0));
            }
        }
        let own = self.range();
        let start = range.start.clamp(own.start, own.end);
        let end = range.end.clamp(start, own.end);
        let from = self.address + (start - self.offset) as usize;
        let len = (end - start) as usize;
        LOST.set(false);
        READING.set((self.address, self.address + self.len));
        let _reading = Reading;
        // SAFETY: both ends were clamped to the mapping, which lives as long as `self`. Pages that
        // lose their file while they are read are replaced by zeros. Other processes may write to
        // the file: the bytes are only handed on as they are, never relied on to keep still.
        let bytes = unsafe { std::slice::from_raw_parts(ptr::with_exposed_provenance(from), len) };
        read(bytes, || LOST.get())
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let address = ptr::with_exposed_provenance_mut(self.address);
        // SAFETY: the mapping is this window's own, and no slice of it is left.
        // It fails only for arguments that are no mapping.
        let _ = unsafe { munmap(address, self.len) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    fn file(content: &[u8]) -> File {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        file
    }

    #[test]
    fn a_window_begins_anywhere() {
        let content: Vec<u8> = (0..20_000_u32).map(|at| (at / 7) as u8).collect();
        let file = file(&content);
        let window = Window::map(file.as_fd(), 9_000, 5_000).unwrap();
        assert_eq!(window.range(), 8_192..14_000);
        let read = window.read(9_000..14_000, |bytes, _| bytes.to_vec());
        assert_eq!(read, content[9_000..14_000]);
        let clamped = window.read(13_990..99_999, |bytes, _| bytes.len());
        assert_eq!(clamped, 10);
    }

    #[test]
    fn pitfall_22_lost_pages_are_told_of_and_end_no_process() {
        let file = file(&[9; 3 * 4096]);
        let window = Window::map(file.as_fd(), 0, 3 * 4096).unwrap();
        let sum = |bytes: &[u8], is_lost: fn() -> bool| {
            let sum = bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            (sum, is_lost())
        };
        assert_eq!(window.read(0..3 * 4096, sum), (9 * 3 * 4096, false));
        file.set_len(4096).unwrap();
        assert_eq!(window.read(0..4096, sum), (9 * 4096, false));
        assert_eq!(window.read(0..3 * 4096, sum), (9 * 4096, true));
        // The next one at these addresses is whole.
        drop(window);
        let other = self::file(&[3; 3 * 4096]);
        let window = Window::map(other.as_fd(), 0, 3 * 4096).unwrap();
        assert_eq!(window.read(0..3 * 4096, sum), (3 * 3 * 4096, false));
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let sysfs = File::open("/sys/kernel/mm/transparent_hugepage/enabled").unwrap();
        assert!(Window::map(sysfs.as_fd(), 0, 4096).is_err());
        assert!(Window::map(file(b"").as_fd(), 0, 0).is_err());
    }
}
