//! To, from or through a pipe, by reference: no copy by the CPU, except into a file's page cache.
//!
//! If neither end is a pipe, bytes go through a pipe of ours, which is filled only when it is
//! empty. So an EAGAIN while filling comes from the source, and one while draining from the sink
//! (pitfall 10). After an EAGAIN or a 0 from a socket, the socket is first asked for an urgent mark
//! (pitfall 24); after a 0 or an error from one with TLS in the kernel, its layer is asked for a
//! control record (pitfall 39).

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::pipe::SpliceFlags;

use super::pipe::Pipe;
use super::{CallOutcome, Ends, or_end};
use crate::endpoint::Kind;
use crate::layer::CallError;
use crate::step::Wait;
use crate::sys::Sys;

pub(crate) fn step<K: Sys>(
    ends: &mut Ends<'_, K>,
    through: &mut Option<Pipe>,
    len: usize,
) -> Result<CallOutcome, CallError> {
    if ends.source.kind == Kind::Pipe || ends.sink.kind == Kind::Pipe {
        return direct(ends, len);
    }
    let pipe = match through {
        Some(pipe) => pipe,
        None => through.insert(Pipe::take(ends.sys)?),
    };
    if pipe.held == 0 {
        fill(ends, pipe, len)
    } else {
        drain(ends, pipe)
    }
}

fn flags(more: bool) -> SpliceFlags {
    let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
    if more {
        flags | SpliceFlags::MORE
    } else {
        flags
    }
}

fn direct<K: Sys>(ends: &mut Ends<'_, K>, len: usize) -> Result<CallOutcome, CallError> {
    let (mut from, mut to) = (*ends.source.position, *ends.sink.position);
    let moved = ends.sys.splice(
        ends.source.fd()?,
        from.as_mut(),
        ends.sink.fd,
        to.as_mut(),
        len,
        flags(ends.more),
    );
    if let Some(stopped) = ends.stopped_by_tls(moved)? {
        return Ok(stopped);
    }
    match moved {
        Ok(0) if ends.stopped_by_urgent(moved)? => Ok(CallOutcome::Urgent),
        Ok(count) => {
            ends.source.advance(count as u64);
            ends.sink.advance(count as u64);
            Ok(or_end(count, CallOutcome::Passed))
        }
        Err(Errno::AGAIN) => match ends.who_blocked()? {
            CallOutcome::Stalled if ends.stopped_by_urgent(moved)? => Ok(CallOutcome::Urgent),
            flow => Ok(flow),
        },
        Err(Errno::PIPE) if ends.sink.kind == Kind::Pipe && ends.source_has_ended()? => {
            Ok(CallOutcome::End)
        }
        Err(errno) => Err(errno.into()),
    }
}

fn fill<K: Sys>(
    ends: &mut Ends<'_, K>,
    pipe: &mut Pipe,
    len: usize,
) -> Result<CallOutcome, CallError> {
    let mut from = *ends.source.position;
    let filled = ends.sys.splice(
        ends.source.fd()?,
        from.as_mut(),
        pipe.write_end.as_fd(),
        None,
        len.min(pipe.capacity),
        flags(false),
    );
    if let Some(stopped) = ends.stopped_by_tls(filled)? {
        return Ok(stopped);
    }
    match filled {
        Ok(0) | Err(Errno::AGAIN) if ends.stopped_by_urgent(filled)? => Ok(CallOutcome::Urgent),
        Ok(count) => {
            ends.source.advance(count as u64);
            pipe.held += count as u64;
            Ok(or_end(count, CallOutcome::Took))
        }
        Err(Errno::AGAIN) => Ok(CallOutcome::Blocked(Wait::Source)),
        Err(errno) => Err(errno.into()),
    }
}

fn drain<K: Sys>(ends: &mut Ends<'_, K>, pipe: &mut Pipe) -> Result<CallOutcome, CallError> {
    let mut to = *ends.sink.position;
    let drained = ends.sys.splice(
        pipe.read_end.as_fd(),
        None,
        ends.sink.fd,
        to.as_mut(),
        pipe.held as usize,
        flags(ends.more),
    );
    match drained {
        // The pipe holds bytes, so 0 is not the end: this sink does not support splice(2).
        Ok(0) => Err(Errno::INVAL.into()),
        Ok(count) => {
            ends.sink.advance(count as u64);
            pipe.held -= count as u64;
            Ok(CallOutcome::Gave(count as u64))
        }
        Err(Errno::AGAIN) => Ok(CallOutcome::Blocked(Wait::Sink)),
        Err(errno) => Err(errno.into()),
    }
}
