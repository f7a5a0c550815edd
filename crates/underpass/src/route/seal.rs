//! File or memory → TLS in this process: encrypted from where it is, straight into the outgoing
//! buffer, in one pass. Other programs read a file into a buffer first.
//!
//! A file is read through a mapping, which shares its pages. A page that is lost because the file
//! was truncated reads as zeros (pitfall 22). Before anything that was made of the pages is sent,
//! this checks that none was lost, and asks for the file's size, since a page that was cut in the
//! middle raises no signal. So zeros that are not the file's are never sent.

use std::io;

use rustix::io::{Errno, retry_on_intr};

use super::{CallOutcome, Ends, Origin};
use crate::endpoint::Kind;
use crate::layer::CallError;
use crate::step::Wait;
use crate::sys::{Sys, Window};

/// The most that is mapped at once: what a step moves by default.
const WINDOW: usize = 4 << 20;

pub(crate) fn step<K: Sys>(
    ends: &mut Ends<'_, K>,
    window: &mut Option<Window>,
    len: usize,
) -> Result<CallOutcome, CallError> {
    match ends.source.origin {
        Origin::Memory(_) => {
            let (sink, memory) = (&ends.sink, ends.source.memory(len));
            let sent = sink.wire.write(ends.sys, sink.fd, memory);
            passed(ends, sent)
        }
        Origin::Fd(_) => of_file(ends, window, len),
    }
}

fn of_file<K: Sys>(
    ends: &mut Ends<'_, K>,
    window: &mut Option<Window>,
    len: usize,
) -> Result<CallOutcome, CallError> {
    let (sys, file, sink) = (ends.sys, ends.source.fd()?, &ends.sink);
    let at = ends.source.position.ok_or(Errno::SPIPE)?;
    let mapped = match window.take().filter(|known| known.range().contains(&at)) {
        Some(known) => known,
        None => match sys.map(file, at, len.min(WINDOW)) {
            Ok(mapped) => mapped,
            Err(Errno::INTR) => return Ok(CallOutcome::Again),
            Err(errno) => return Ok(CallOutcome::Refused(errno)),
        },
    };
    let end = mapped.range().end.min(at.saturating_add(len as u64));
    let has_size = ends.source.kind == Kind::File;
    let mut shorter = false;
    let sent = mapped.read(at..end, |bytes, is_lost| {
        let mut check = || {
            let is_cut = has_size && retry_on_intr(|| sys.size(file))? < end;
            shorter = is_lost() || is_cut;
            if shorter {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(())
        };
        sink.wire.seal(sys, sink.fd, bytes, &mut check)
    });
    *window = Some(mapped);
    match sent {
        Err(_) if shorter => Ok(CallOutcome::Lost),
        sent => passed(ends, sent),
    }
}

fn passed<K: Sys>(
    ends: &mut Ends<'_, K>,
    sent: Result<usize, CallError>,
) -> Result<CallOutcome, CallError> {
    match sent {
        // A layer takes at least a byte or fails; otherwise this would loop forever.
        Ok(0) => Err(Errno::IO.into()),
        Ok(count) => {
            ends.source.advance(count as u64);
            Ok(CallOutcome::Passed(count as u64))
        }
        Err(error) if error.would_block() => Ok(CallOutcome::Blocked(Wait::Sink)),
        Err(error) => Err(error),
    }
}
