//! File → socket or file: the page cache's pages are handed to the sink, which for a socket means no copy by the CPU
//! where the interface gathers.
//!
//! The pages are shared, not snapshotted (pitfall 1). The kernel keeps `MSG_MORE` on within one call only.

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Ends, Flow, Wait, or_end};
use crate::sys::Sys;

pub(crate) fn step<K: Sys>(ends: &mut Ends<'_, K>, len: usize) -> Result<Flow, Errno> {
    // sendfile(2) has no offset for the sink: it writes at the cursor.
    if let Some(to) = *ends.sink.position {
        ends.sys.seek(ends.sink.fd, SeekFrom::Start(to))?;
    }
    let mut from = *ends.source.position;
    match ends
        .sys
        .sendfile(ends.sink.fd, ends.source.fd()?, from.as_mut(), len)
    {
        Ok(count) => {
            ends.source.advance(count as u64);
            ends.sink.advance(count as u64);
            Ok(or_end(count, Flow::Passed))
        }
        // A file is always ready, so it was the sink.
        Err(Errno::AGAIN) => Ok(Flow::Blocked(Wait::Sink)),
        Err(errno) => Err(errno),
    }
}
