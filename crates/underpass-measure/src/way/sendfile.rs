//! sendfile(2): the socket buffers get references to the pages of the page cache.

use rustix::fs::sendfile;

use super::{Job, Send, SendReport, ended_early};

pub(super) fn prepare(job: Job<'_>) -> Send<'_> {
    Box::new(move || {
        let mut reported = SendReport::default();
        let mut at = 0;
        while at < job.bytes {
            let len = job.call(at);
            let sent = sendfile(job.socket, job.file, Some(&mut at), len)?;
            reported.calls += 1;
            if sent == 0 {
                return Err(ended_early());
            }
        }
        Ok(reported)
    })
}
