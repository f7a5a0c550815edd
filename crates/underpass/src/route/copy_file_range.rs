//! File → file in one call: the file system may share extents, have its server copy, or copy in the
//! kernel.
//!
//! A count of 0 is no proof of the end (pitfall 4: overlay, CIFS and `/proc` return it for files
//! full of bytes).

use rustix::io::Errno;

use super::{CallOutcome, Ends, or_end};
use crate::sys::Sys;

pub(crate) fn step<K: Sys>(ends: &mut Ends<'_, K>, len: usize) -> Result<CallOutcome, Errno> {
    let (Some(from), Some(to)) = (*ends.source.position, *ends.sink.position) else {
        return Err(Errno::INVAL);
    };
    // Copies, so that a call which fails cannot have moved our own.
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
