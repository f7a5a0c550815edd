//! Reads and discards what a peer sends unasked.
//!
//! It has to be read, because unread bytes turn a close into a reset and hide the peer's end. But a
//! peer that never stops sending must not keep the reader from its timeout, from a cancellation, or
//! from other peers (pitfall 35). So only a little is read at a time.

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::layer::{CallError, LayerError};
use crate::sys::Kernel;
use crate::wire::Wire;

/// Most reads of [`SCRATCH`] bytes in one call: 64 KiB, about 10 µs.
const READS: usize = 16;
const SCRATCH: usize = 4096;

/// How much is kept of what a peer says.
const KEPT: usize = 64;

/// How much of what the peer sent was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Everything that has arrived.
    All,
    /// There may be more, to be read after others had their turn.
    Part,
    /// The peer has ended its side.
    End,
}

/// Reads and discards a limited amount of what `socket` has received, without waiting. With TLS its
/// layer reads, so that an alert is an error and not an end.
pub(crate) fn discard(socket: impl AsFd, wire: &Wire) -> Result<Heard, CallError> {
    listen(socket, wire, |_| {})
}

/// As [`discard`], and shows `heard` what was read.
pub(crate) fn listen(
    socket: impl AsFd,
    wire: &Wire,
    mut heard: impl FnMut(&[u8]),
) -> Result<Heard, CallError> {
    let (fd, mut scratch) = (socket.as_fd(), [0_u8; SCRATCH]);
    for _ in 0..READS {
        let read = match wire {
            Wire::Plain => recv(fd, &mut scratch[..], RecvFlags::DONTWAIT)
                .map(|(count, _)| count)
                .map_err(CallError::from),
            wire => wire.read(&Kernel::default(), fd, &mut scratch),
        };
        match read {
            Ok(0) => return Ok(Heard::End),
            // All that matters is that nothing more comes.
            Err(CallError::Layer(LayerError::Cut)) => return Ok(Heard::End),
            Ok(count) => heard(&scratch[..count]),
            Err(CallError::Errno(Errno::INTR)) => {}
            Err(CallError::Errno(Errno::AGAIN)) => return Ok(Heard::All),
            Err(error) => return Err(error),
        }
    }
    Ok(Heard::Part)
}

/// Keeps the first bytes that a peer has said.
pub(crate) fn keep_first(heard: &mut Vec<u8>, bytes: &[u8]) {
    let room = KEPT.saturating_sub(heard.len());
    heard.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    #[test]
    fn pitfall_35_a_flood_is_read_a_little_at_a_time() {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(&vec![1; READS * SCRATCH + 10]).unwrap();
        assert_eq!(discard(&near, &Wire::Plain), Ok(Heard::Part));
        assert_eq!((&near).read(&mut [0; 100]).unwrap(), 10);
        assert_eq!(discard(&near, &Wire::Plain), Ok(Heard::All));
        drop(far);
        assert_eq!(discard(&near, &Wire::Plain), Ok(Heard::End));
    }
}
