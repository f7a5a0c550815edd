//! All `unsafe` code of this crate.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};
use rustix::thread::{UnshareFlags, unshare_unsafe};

pub(crate) mod bpf;

/// Maps the first `bytes` of `file` by mmap(2). The file must be one of ours: without a name, and
/// neither written to nor truncated once it is filled.
pub(crate) fn map(file: &File, bytes: u64) -> io::Result<Mmap> {
    // SAFETY: the file has no name by which another process could change or truncate it, and
    // `TestFile` only lends it.
    unsafe { MmapOptions::new().len(bytes as usize).map(file) }
}

/// Puts the calling thread, and no other, into a network namespace of its own, by unshare(2).
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET leaves the table of descriptors shared, which is what the call's
    // contract is about.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}
