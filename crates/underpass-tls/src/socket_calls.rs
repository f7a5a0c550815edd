//! The calls by which bytes enter and leave a socket. The tests make them fail, stop short or end
//! at any byte (`faults`).

use std::io::IoSlice;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

/// send(2)
pub(crate) fn send(socket: BorrowedFd<'_>, bytes: &[u8], flags: SendFlags) -> Result<usize, Errno> {
    let real = |len| rustix::net::send(socket, &bytes[..len], flags);
    moving(Call::Send, socket, bytes.len(), real)
}

/// sendmsg(2)
pub(crate) fn send_slices(
    socket: BorrowedFd<'_>,
    slices: &[IoSlice<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let whole = slices.iter().map(|slice| slice.len()).sum();
    moving(Call::Send, socket, whole, |len| {
        let mut control = SendAncillaryBuffer::default();
        if len == whole {
            return rustix::net::sendmsg(socket, slices, &mut control, flags);
        }
        // Cut short by a fault, perhaps shorter than that.
        let first = slices.iter().find(|slice| !slice.is_empty());
        let first = first.map_or(&[][..], |slice| &slice[..slice.len().min(len)]);
        rustix::net::sendmsg(socket, &[IoSlice::new(first)], &mut control, flags)
    })
}

/// recv(2)
pub(crate) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<usize, Errno> {
    moving(Call::Receive, socket, buffer.len(), |len| {
        rustix::net::recv(socket, &mut buffer[..len], RecvFlags::empty()).map(|(count, _)| count)
    })
}

/// What a call does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Send,
    Receive,
}

/// Makes a call that moves up to `len` bytes. `real` is given how many it may move.
#[cfg(not(test))]
pub(crate) fn moving(
    _: Call,
    _: BorrowedFd<'_>,
    len: usize,
    real: impl FnOnce(usize) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    real(len)
}

#[cfg(test)]
pub(crate) use crate::faults::moving;
