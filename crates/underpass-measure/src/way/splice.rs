//! splice(2), twice: references to pages go into a pipe and on to the socket. The pipe is kept for
//! the next file, as in a pool of pipes.

use std::io;

use rustix::pipe::{PipeFlags, SpliceFlags, pipe_with, splice};

use super::{Job, Send, SendReport, ended_early};

pub(super) fn prepare(job: Job<'_>) -> io::Result<Send<'_>> {
    // The pipe is as large as one call: 16 pages by default.
    let (outlet, inlet) = pipe_with(PipeFlags::CLOEXEC)?;
    Ok(Box::new(move || {
        let mut reported = SendReport::default();
        let mut at = 0;
        while at < job.bytes {
            let len = job.call(at);
            let mut held = splice(
                job.file,
                Some(&mut at),
                &inlet,
                None,
                len,
                SpliceFlags::empty(),
            )?;
            reported.calls += 1;
            if held == 0 {
                return Err(ended_early());
            }
            while held > 0 {
                held -= splice(&outlet, None, job.socket, None, held, SpliceFlags::empty())?;
                reported.calls += 1;
            }
        }
        Ok(reported)
    }))
}
