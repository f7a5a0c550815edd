//! read(2) and write(2): page cache → user buffer → socket buffers; the CPU makes both copies.

use rustix::io::{pread, write};

use super::{CALL, Job, Send, Told, UserCopies, ended_early};

pub(super) fn prepare(job: Job<'_>) -> Send<'_> {
    let mut buffer = vec![0; CALL];
    Box::new(move || {
        let mut told = Told {
            expected: UserCopies::BOTH,
            ..Told::default()
        };
        let mut at = 0;
        while at < job.bytes {
            let got = pread(job.file, &mut buffer[..job.call(at)], at)?;
            told.calls += 1;
            if got == 0 {
                return Err(ended_early());
            }
            let mut rest = &buffer[..got];
            while !rest.is_empty() {
                let sent = write(job.socket, rest)?;
                told.calls += 1;
                rest = &rest[sent..];
            }
            at += got as u64;
        }
        Ok(told)
    })
}
