//! File → file in one call. The file system may share extents, have its server copy, or copy in the
//! kernel.
//!
//! A count of 0 does not prove the end: overlay, CIFS and `/proc` return it for files that have
//! more bytes (pitfall 4).

use rustix::io::Errno;

use super::{CallOutcome, Ends, or_end};
use crate::sys::Sys;

pub(crate) fn step<K: Sys>(ends: &mut Ends<'_, K>, len: usize) -> Result<CallOutcome, Errno> {
    let (Some(from), Some(to)) = (*ends.source.position, *ends.sink.position) else {
        return Err(Errno::INVAL);
    };
    // The call gets copies of the offsets, so that a failed call cannot have changed ours.
    let (mut off_in, mut off_out) = (from, to);
    let count = ends.sys.copy_file_range(
        ends.source.fd()?,
        &mut off_in,
        ends.sink.fd,
        &mut off_out,
        len,
    )?;
    ends.source.advance(count as u64);
    ends.sink.advance(count as u64);
    Ok(or_end(count, CallOutcome::Passed))
}
