//! Anything → anything through user space: one copy in, one copy out, both by the CPU. This route
//! always works. It is the reference for measuring the others, and the only one where the program
//! sees the bytes.
//!
//! With TLS on an end, in the kernel or in this process, its layer reads or writes.
//!
//! Bytes that another route left in its pipe are written first, so that a fallback loses nothing.

use rustix::event::{PollFd, PollFlags};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;

use super::buffer::Buffer;
use super::pipe::Pipe;
use super::{CallOutcome, Ends, Sink};
use crate::layer::CallError;
use crate::step::Wait;
use crate::sys::Sys;

/// write(2) of this much to a pipe that polls writable does not sleep (pipe(7), `PIPE_BUF`).
const PIPE_BUF: usize = 4096;

pub(crate) fn step<K: Sys>(
    ends: &mut Ends<'_, K>,
    left: &mut Option<Pipe>,
    buffer: &mut Buffer,
    len: usize,
) -> Result<CallOutcome, CallError> {
    if !buffer.is_empty() {
        return write_out(ends, buffer);
    }
    if !ends.source.memory(len).is_empty() {
        return write_memory(ends, len);
    }
    match left {
        Some(pipe) if pipe.held > 0 => {
            rescue(ends, pipe, buffer)?;
            write_out(ends, buffer)
        }
        _ => read_in(ends, buffer, len),
    }
}

/// Moves the bytes in an abandoned pipe into the buffer. They were taken from the source already.
fn rescue<K: Sys>(ends: &Ends<'_, K>, pipe: &mut Pipe, buffer: &mut Buffer) -> Result<(), Errno> {
    let held = pipe.held as usize;
    let count = buffer.fill(held, |bytes| ends.sys.read(pipe.read_end.as_fd(), bytes))?;
    pipe.held -= count as u64;
    Ok(())
}

fn read_in<K: Sys>(
    ends: &mut Ends<'_, K>,
    buffer: &mut Buffer,
    len: usize,
) -> Result<CallOutcome, CallError> {
    if ends.source.may_sleep && !is_ready(ends.sys, ends.source.fd()?, PollFlags::IN)? {
        return Ok(CallOutcome::Blocked(Wait::Source));
    }
    let (sys, fd, wire) = (ends.sys, ends.source.fd()?, ends.source.wire);
    let read = match *ends.source.position {
        Some(at) => buffer.fill(len, |bytes| Ok(sys.pread(fd, bytes, at)?)),
        None => buffer.fill(len, |bytes| wire.read(sys, fd, bytes)),
    };
    match read {
        Ok(0) => Ok(CallOutcome::End),
        Ok(count) => {
            ends.source.advance(count as u64);
            Ok(CallOutcome::Took(count as u64))
        }
        Err(error) if error.would_block() => Ok(CallOutcome::Blocked(Wait::Source)),
        Err(error) => Err(error),
    }
}

fn write_out<K: Sys>(
    ends: &mut Ends<'_, K>,
    buffer: &mut Buffer,
) -> Result<CallOutcome, CallError> {
    let flow = write(ends.sys, &mut ends.sink, buffer.held(), ends.corked)?;
    if let CallOutcome::Gave(count) = flow {
        buffer.consume(count as usize);
    }
    Ok(flow)
}

/// Writes memory from where it is: it is in user space already.
fn write_memory<K: Sys>(ends: &mut Ends<'_, K>, len: usize) -> Result<CallOutcome, CallError> {
    match write(
        ends.sys,
        &mut ends.sink,
        ends.source.memory(len),
        ends.corked,
    )? {
        CallOutcome::Gave(count) => {
            ends.source.advance(count);
            Ok(CallOutcome::Passed(count))
        }
        other => Ok(other),
    }
}

fn write<K: Sys>(
    sys: &K,
    sink: &mut Sink<'_>,
    bytes: &[u8],
    corked: bool,
) -> Result<CallOutcome, CallError> {
    let written = match *sink.position {
        Some(at) => sys.pwrite(sink.fd, bytes, at).map_err(CallError::from),
        None if corked && sink.kind.is_stream_socket() && !sink.may_sleep => {
            sys.send_more(sink.fd, bytes).map_err(CallError::from)
        }
        None if sink.may_sleep => write_awake(sys, sink.fd, bytes).map_err(CallError::from),
        None => sink.wire.write(sys, sink.fd, bytes),
    };
    match written {
        // write(2) writes at least one byte or fails. If it did neither, this would loop forever.
        Ok(0) => Err(Errno::IO.into()),
        Ok(count) => {
            sink.advance(count as u64);
            Ok(CallOutcome::Gave(count as u64))
        }
        Err(error) if error.would_block() => Ok(CallOutcome::Blocked(Wait::Sink)),
        Err(error) => Err(error),
    }
}

/// Writes to a descriptor that could put the thread to sleep, without sleeping: with `RWF_NOWAIT`
/// if the kernel and the descriptor support it (pipes since Linux 6.4), otherwise no more than a
/// ready pipe takes.
fn write_awake<K: Sys>(sys: &K, fd: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize, Errno> {
    match sys.write_nowait(fd, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::SPIPE) => {
            if is_ready(sys, fd, PollFlags::OUT)? {
                sys.write(fd, &bytes[..bytes.len().min(PIPE_BUF)])
            } else {
                Err(Errno::AGAIN)
            }
        }
        done => done,
    }
}

pub(crate) fn is_ready<K: Sys>(
    sys: &K,
    fd: BorrowedFd<'_>,
    events: PollFlags,
) -> Result<bool, Errno> {
    let mut fds = [PollFd::from_borrowed_fd(fd, events)];
    sys.poll(&mut fds, Some(std::time::Duration::ZERO))?;
    Ok(!fds[0].revents().is_empty())
}
