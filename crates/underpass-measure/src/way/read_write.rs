//! read(2) and write(2): page cache → user buffer → socket buffers; the CPU makes both copies.

use rustix::io::{pread, write};

use super::{CALL, Job, Send, SendReport, UserCopies, ended_early};

pub(super) fn prepare(job: Job<'_>) -> Send<'_> {
    let mut buffer = vec![0; CALL];
    Box::new(move || {
        let mut reported = SendReport {
            expected: UserCopies::BOTH,
            ..SendReport::default()
        };
        let mut at = 0;
        while at < job.bytes {
            let got = pread(job.file, &mut buffer[..job.call(at)], at)?;
            reported.calls += 1;
            if got == 0 {
                return Err(ended_early());
            }
            let mut rest = &buffer[..got];
            while !rest.is_empty() {
                let sent = write(job.socket, rest)?;
                reported.calls += 1;
                rest = &rest[sent..];
            }
            at += got as u64;
        }
        Ok(reported)
    })
}
