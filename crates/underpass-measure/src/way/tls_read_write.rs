//! read(2), TLS in user space, and send(2): page cache → user buffer → buffer of sealed records →
//! socket buffers. The CPU copies, encrypts and copies.

use std::io::IoSlice;
use std::os::fd::AsFd;

use rustix::io::pread;
use underpass_tls::Session;

use super::{CALL, Job, Send, SendReport, UserCopies, ended_early};

pub(super) fn prepare<'a>(job: Job<'a>, session: &'a Session) -> Send<'a> {
    let mut buffer = vec![0; CALL];
    Box::new(move || {
        let before = session.syscalls();
        let mut report = SendReport {
            expected: UserCopies::BOTH,
            ..SendReport::default()
        };
        let mut at = 0;
        while at < job.bytes {
            let got = pread(job.file, &mut buffer[..job.call(at)], at)?;
            report.calls += 1;
            if got == 0 {
                return Err(ended_early());
            }
            let mut rest = &buffer[..got];
            while !rest.is_empty() {
                // The socket blocks, so all that is taken is sent.
                let taken = session.send(job.socket.as_fd(), &[IoSlice::new(rest)], false)?;
                rest = &rest[taken..];
            }
            at += got as u64;
        }
        report.calls += session.syscalls() - before;
        Ok(report)
    })
}
