//! mmap(2) of a file that nobody else can open.

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps the first `bytes` of `file`, which must be one of ours: without a name, and neither written
/// to nor truncated once it is filled.
pub(crate) fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    // SAFETY: the file has no name by which another process could change or truncate it, and
    // `TestFile` only lends it.
    unsafe { MmapOptions::new().len(bytes as usize).map(file) }
}
