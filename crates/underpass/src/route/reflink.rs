//! File → file on one copy-on-write file system: both files share the extents, and no byte is read.
//!
//! This uses `FICLONERANGE` with the whole length rather than `FICLONE`: it never touches bytes
//! behind the range, and works where `FICLONE` is refused (pitfall 8). It is all or nothing, so one
//! call does the whole range.

use rustix::io::Errno;

use super::{CallOutcome, Ends};
use crate::sys::Sys;

pub(crate) fn step<K: Sys>(ends: &mut Ends<'_, K>, len: u64) -> Result<CallOutcome, Errno> {
    let (Some(from), Some(to)) = (*ends.source.position, *ends.sink.position) else {
        return Err(Errno::INVAL);
    };
    ends.sys
        .clone_range(ends.source.fd()?, from, len, ends.sink.fd, to)?;
    ends.source.advance(len);
    ends.sink.advance(len);
    Ok(CallOutcome::Passed(len))
}
