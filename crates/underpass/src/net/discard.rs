//! What a peer says though nobody wants to hear it.
//!
//! It has to be read: unread bytes turn a close into a reset, and hide the end behind them. But a
//! peer that always has more must not keep whoever reads it from its timeout, from a cancel and
//! from others (pitfall 35), so it is read a little at a time.

use rustix::fd::AsFd;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Reads of [`SCRATCH`] bytes at once: 64 KiB, some 10 µs.
const READS: usize = 16;
const SCRATCH: usize = 4096;

/// What the peer had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing more for now.
    All,
    /// There may be more: to be read after everything else had its turn.
    Part,
    /// It says no more.
    End,
}

/// Reads a limited amount of what `socket` has, without waiting, and throws it away.
pub(crate) fn discard(socket: impl AsFd) -> Result<Heard, Errno> {
    let mut scratch = [0_u8; SCRATCH];
    for _ in 0..READS {
        match recv(&socket, &mut scratch[..], RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Ok(Heard::End),
            Ok(_) | Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(Heard::All),
            Err(errno) => return Err(errno),
        }
    }
    Ok(Heard::Part)
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
        assert_eq!(discard(&near), Ok(Heard::Part));
        assert_eq!((&near).read(&mut [0; 100]).unwrap(), 10);
        assert_eq!(discard(&near), Ok(Heard::All));
        drop(far);
        assert_eq!(discard(&near), Ok(Heard::End));
    }
}
