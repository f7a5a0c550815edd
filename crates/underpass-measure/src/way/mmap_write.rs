//! mmap(2) and write(2): socket buffers are filled from the page cache, which is mapped into the
//! program.

use rustix::io::write;

use super::{Job, Send, SendReport, UserCopies};
use crate::sys;

/// One call of mmap(2) and one of munmap(2).
const MAPPING_CALLS: u64 = 2;

pub(super) fn prepare(job: Job<'_>) -> Send<'_> {
    Box::new(move || {
        let mapping = sys::map(job.file, job.bytes)?;
        let mut reported = SendReport {
            calls: MAPPING_CALLS,
            expected: UserCopies::TO_SOCKET,
            ..SendReport::default()
        };
        let mut at = 0;
        while at < job.bytes {
            let rest = &mapping[at as usize..];
            at += write(job.socket, &rest[..job.call(at)])? as u64;
            reported.calls += 1;
        }
        Ok(reported)
    })
}
