//! mmap(2) of a file that nobody else can open.

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps the first `bytes` of `file`, which is one of ours: it has no name, and it is neither
/// written nor cut once filled.
pub(crate) fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    // SAFETY: the file has no name by which another process could change or cut it, and `TestFile`
    // only lends it.
    unsafe { MmapOptions::new().len(bytes as usize).map(file) }
}
