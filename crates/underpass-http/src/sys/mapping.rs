//! Mapped files.
//!
//! Code that reads a slice of a mapping sees the file's content. The transport recognises the file
//! by the slice's address, and need not read it.

use std::io::{self, IoSlice};
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

use super::address_space::AddressSpace;
use super::open_file::{OpenFile, truncated};
use super::page_cache::ResidencyCache;

/// A regular file, mapped read-only with the length that it had when it was opened.
///
/// The pages are shared with the file; they are not a snapshot. Reading pages of a truncated file
/// yields zeros, and marks the mapping as [spoiled](Self::is_spoiled).
pub(crate) struct Mapping {
    this: Weak<Self>,
    file: Arc<OpenFile>,
    space: &'static AddressSpace<Self>,
    start: usize,
    len: usize,
    spoiled: AtomicBool,
    residency: ResidencyCache,
}

/// The file that a slice is part of, and the slice's offset in it.
#[derive(Clone, Copy)]
pub(crate) struct FilePosition<'a> {
    pub(crate) mapping: &'a Mapping,
    pub(crate) offset: u64,
}

/// The range of all mappings; `None` if the kernel grants none.
static ADDRESS_SPACE: OnceLock<Option<AddressSpace<Mapping>>> = OnceLock::new();

/// Reserves the range and installs the SIGBUS handler, the first time.
fn address_space() -> Option<&'static AddressSpace<Mapping>> {
    let reserve = || {
        let space = AddressSpace::reserve()?;
        // SAFETY: `mark_spoiled` only reads and sets atomics, and claims pages of mappings that
        // hand on what is there, zeros too, and say that they are spoiled.
        unsafe { underpass::lost_pages::claim(mark_spoiled) };
        Some(space)
    };
    ADDRESS_SPACE.get_or_init(reserve).as_ref()
}

/// The range, if it was reserved. Safe in a signal handler, because it never locks.
fn reserved() -> Option<&'static AddressSpace<Mapping>> {
    ADDRESS_SPACE.get()?.as_ref()
}

/// Marks the mapping that `address` belongs to as spoiled. False if there is none, so that the
/// fault is not ours. Safe in a signal handler.
fn mark_spoiled(address: usize) -> bool {
    // SAFETY: the thread that faulted holds a slice of the mapping, so the mapping is alive.
    let mapping = reserved().and_then(|space| unsafe { space.owner(address).as_ref() });
    mapping.is_some_and(|mapping| {
        mapping.spoiled.store(true, Ordering::Release);
        true
    })
}

impl Mapping {
    /// Maps `file` with the length that it had when it was opened.
    ///
    /// # Errors
    /// `ENODEV` if the file system cannot map files, `ENOMEM` if no address space is left, `EINVAL`
    /// for an empty file.
    pub(crate) fn new(file: Arc<OpenFile>) -> io::Result<Arc<Self>> {
        let space = address_space().ok_or(Errno::NOMEM)?;
        let len = usize::try_from(file.version().len).map_err(|_| Errno::NOMEM)?;
        let start = space.take(len)?;
        let address = ptr::with_exposed_provenance_mut(start);
        let flags = MapFlags::SHARED | MapFlags::FIXED;
        // SAFETY: `take` made these addresses ours alone; what is there is the reservation, which
        // nobody refers to.
        if let Err(errno) = unsafe { mmap(address, len, ProtFlags::READ, flags, &file, 0) } {
            space.give_back(start, len);
            return Err(errno.into());
        }
        let mapping = Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            file,
            space,
            start,
            len,
            spoiled: AtomicBool::new(false),
            residency: ResidencyCache::new(len as u64),
        });
        space.set_owner(start, len, Arc::as_ptr(&mapping).cast_mut());
        Ok(mapping)
    }

    pub(crate) fn file(&self) -> &Arc<OpenFile> {
        &self.file
    }

    pub(crate) fn len(&self) -> u64 {
        self.len as u64
    }

    /// Which of its pages were seen in the page cache.
    pub(crate) fn residency(&self) -> &ResidencyCache {
        &self.residency
    }

    /// Whether pages of the truncated file were read, and were zeros.
    pub(crate) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Acquire)
    }

    /// Checks that the file has not changed since it was opened; `at` is the offset of the next
    /// byte to be sent. It has to ask for the file's size, because a page that was truncated in the
    /// middle raises no signal.
    ///
    /// # Errors
    /// Those of [`OpenFile::check`]; `UnexpectedEof` too if the mapping is spoiled.
    pub(crate) fn check(&self, at: u64) -> io::Result<()> {
        if self.is_spoiled() {
            return Err(truncated(at));
        }
        self.file.check(at)
    }

    /// The file's bytes in `range`, without a copy. They keep the mapping alive.
    ///
    /// # Panics
    /// If the range reaches beyond the mapping.
    pub(crate) fn bytes(self: &Arc<Self>, range: std::ops::Range<u64>) -> Bytes {
        let start = usize::try_from(range.start).unwrap_or(usize::MAX);
        let end = usize::try_from(range.end).unwrap_or(usize::MAX);
        assert!(start <= end && end <= self.len, "{range:?} of {}", self.len);
        Bytes::from_owner(FileSlice {
            mapping: Arc::clone(self),
            start,
            len: end - start,
        })
    }
}

/// A part of a mapping, which it keeps alive.
#[derive(Clone)]
pub(crate) struct FileSlice {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl FileSlice {
    pub(crate) fn is_of_same_file(&self, other: &Self) -> bool {
        self.is_of(&other.mapping)
    }

    pub(crate) fn is_of(&self, mapping: &Mapping) -> bool {
        ptr::eq(&raw const *self.mapping, mapping)
    }

    /// Checks that the file has not changed since it was opened.
    ///
    /// # Errors
    /// Those of [`Mapping::check`].
    pub(crate) fn check(&self) -> io::Result<()> {
        self.mapping.check(self.start as u64)
    }
}

impl std::fmt::Debug for FileSlice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSlice")
            .field("start", &self.start)
            .field("len", &self.len)
            .finish_non_exhaustive()
    }
}

impl FilePosition<'_> {
    /// The `len` bytes from here, without a copy; `None` if the mapping ends before.
    pub(crate) fn slice(self, len: usize) -> Option<FileSlice> {
        let start = self.offset as usize;
        let end = start.checked_add(len)?;
        if end > self.mapping.len {
            return None;
        }
        let mapping = self.mapping.this.upgrade()?;
        Some(FileSlice {
            mapping,
            start,
            len,
        })
    }
}

impl AsRef<[u8]> for FileSlice {
    fn as_ref(&self) -> &[u8] {
        let start = ptr::with_exposed_provenance(self.mapping.start + self.start);
        // SAFETY: `Mapping::bytes` and `FilePosition::slice` checked the bounds, and the pages stay
        // mapped and readable while the mapping lives, which `self` sees to; those that lose their
        // file are replaced by zeros (`underpass::lost_pages`). Other processes may write to the
        // file: the bytes are only handed on or looked at as they are, never relied on to keep
        // still.
        unsafe { std::slice::from_raw_parts(start, self.len) }
    }
}

/// The file that `slice` is part of; `None` for other memory.
pub(crate) fn file_position(slice: &[u8]) -> Option<FilePosition<'_>> {
    let space = reserved()?;
    let address = slice.as_ptr().addr();
    if slice.is_empty() || !space.contains(address) {
        return None;
    }
    let owner = space.owner(address);
    // SAFETY: the slice is alive and not empty, so are the pages it lies in, and so is the mapping
    // that owns them: it clears its entries before it unmaps, when no slice is left.
    let mapping = unsafe { owner.as_ref() }?;
    Some(FilePosition {
        mapping,
        offset: (address - mapping.start) as u64,
    })
}

/// Checks that none of the files that `slices` are part of has changed since it was opened. Each is
/// checked at its last slice.
pub(crate) fn check_slices(slices: &[IoSlice<'_>]) -> io::Result<()> {
    let mut last: Option<FilePosition<'_>> = None;
    for position in slices.iter().filter_map(|slice| file_position(slice)) {
        if let Some(last) = last
            && !ptr::eq(last.mapping, position.mapping)
        {
            last.mapping.check(last.offset)?;
        }
        last = Some(position);
    }
    last.map_or(Ok(()), |last| last.mapping.check(last.offset))
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.space.set_owner(self.start, self.len, ptr::null_mut());
        let address = ptr::with_exposed_provenance_mut(self.start);
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::FIXED;
        // SAFETY: the range is ours, and no slice of it is left, as each holds the mapping. A
        // reservation takes its place.
        let vacated = unsafe { mmap_anonymous(address, self.len, ProtFlags::empty(), flags) };
        // If the kernel is out of memory, the addresses stay unused; nothing else is lost.
        if vacated.is_ok() {
            self.space.give_back(self.start, self.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn file(content: &[u8]) -> Arc<OpenFile> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        Arc::new(OpenFile::new(file).unwrap())
    }

    #[test]
    fn a_slice_knows_its_file_and_offset() {
        let mapping = Mapping::new(file(b"0123456789")).unwrap();
        let bytes = mapping.bytes(2..8);
        assert_eq!(bytes, &b"234567"[..]);
        let tail = bytes.slice(3..);
        let position = file_position(&tail).unwrap();
        assert_eq!(position.offset, 5);
        assert!(ptr::eq(position.mapping, &raw const *mapping));
        assert!(file_position(b"elsewhere").is_none());
        assert!(file_position(&tail[..0]).is_none());
    }

    #[test]
    fn the_mapping_outlives_its_handle_and_its_addresses_are_reused() {
        let mapping = Mapping::new(file(&[7; 5000])).unwrap();
        let weak = Arc::downgrade(&mapping);
        let bytes = mapping.bytes(4999..5000);
        drop(mapping);
        assert_eq!(bytes[0], 7);
        drop(bytes);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn what_cannot_be_mapped_is_an_error() {
        let sysfs = std::fs::File::open("/sys/kernel/mm/transparent_hugepage/enabled").unwrap();
        assert!(Mapping::new(Arc::new(OpenFile::new(sysfs).unwrap())).is_err());
        assert!(Mapping::new(file(b"")).is_err());
        let huge = tempfile::tempfile().unwrap();
        huge.set_len(1 << 42).unwrap();
        let huge = OpenFile::new(huge).unwrap();
        let mappings: Vec<_> = std::iter::repeat_n(Arc::new(huge), 5)
            .map(Mapping::new)
            .collect();
        assert!(
            mappings.iter().any(Result::is_err),
            "more than there are addresses"
        );
    }

    #[test]
    fn pitfall_22_a_truncated_file_reads_as_zeros_and_is_marked() {
        let file = file(&[9; 3 * 4096]);
        let handle = file.file().try_clone().unwrap();
        let mapping = Mapping::new(file).unwrap();
        let bytes = mapping.bytes(0..3 * 4096);
        handle.set_len(4096).unwrap();
        assert!(!mapping.is_spoiled());
        assert_eq!(bytes[0], 9);
        assert!(!mapping.is_spoiled());
        assert_eq!(bytes[2 * 4096 + 5], 0);
        assert!(mapping.is_spoiled());
        // A later file at the same addresses does not inherit the zero page.
        drop(bytes);
        drop(mapping);
        let next = Mapping::new(self::file(&[3; 3 * 4096])).unwrap();
        assert!(next.bytes(0..3 * 4096).iter().all(|byte| *byte == 3));
    }
}
