//! ioctl_ficlonerange(2), which rustix does not wrap.

use rustix::fd::AsRawFd;
use rustix::ioctl::{Setter, ioctl, opcode};

use super::{Fd, Result};

/// `struct file_clone_range` of <linux/fs.h>.
#[repr(C)]
struct FileCloneRange {
    src_fd: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

/// `_IOW(0x94, 13, struct file_clone_range)`
const FICLONERANGE: rustix::ioctl::Opcode = opcode::write::<FileCloneRange>(0x94, 13);

/// Shares `len` bytes of `input`'s extents with `out`. A `len` of 0 means "to the end" to the
/// kernel, so it is refused.
pub(super) fn clone_range(input: Fd, off_in: u64, len: u64, out: Fd, off_out: u64) -> Result<()> {
    if len == 0 {
        return Err(rustix::io::Errno::INVAL);
    }
    let range = FileCloneRange {
        src_fd: i64::from(input.as_raw_fd()),
        src_offset: off_in,
        src_length: len,
        dest_offset: off_out,
    };
    // SAFETY: FICLONERANGE takes a pointer to a `struct file_clone_range`, which `FileCloneRange`
    // mirrors.
    unsafe {
        let request = Setter::<FICLONERANGE, FileCloneRange>::new(range);
        ioctl(out, request)
    }
}
