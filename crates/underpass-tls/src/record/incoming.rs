//! Received bytes that the caller has not taken: sealed records, and the rest of an opened one.

use std::cell::RefCell;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::open::{Header, MAX_RECORD};
use crate::socket_calls;

/// Room for several full records, so that fast connections need fewer calls.
const CAPACITY: usize = 128 << 10;

/// A caller with room for this much gets several records by one recv(2).
const LARGE_READ: usize = 32 << 10;

/// How many empty buffers a thread keeps.
const SPARE_BUFFERS: usize = 8;

thread_local! {
    static SPARE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// The bytes of one connection. It has a buffer only while it needs one.
#[derive(Default)]
pub(crate) struct Incoming {
    bytes: Box<[u8]>,
    /// Sealed records, the last of them perhaps not whole.
    sealed: Range<usize>,
    /// The rest of an opened record, in front of the sealed ones.
    plain: Range<usize>,
}

impl Incoming {
    /// Begins with the bytes that were read along with the handshake.
    pub(crate) fn new(ahead: Vec<u8>) -> Self {
        Self {
            sealed: 0..ahead.len(),
            bytes: ahead.into(),
            plain: 0..0,
        }
    }

    pub(crate) fn has_plain(&self) -> bool {
        !self.plain.is_empty()
    }

    /// Moves plain bytes that are left to `out`.
    pub(crate) fn take_plain(&mut self, out: &mut [u8]) -> usize {
        let len = self.plain.len().min(out.len());
        out[..len].copy_from_slice(&self.bytes[self.plain.start..][..len]);
        self.plain.start += len;
        len
    }

    /// Keeps plain bytes of the record that was just taken, for later.
    pub(crate) fn keep_plain(&mut self, plain: Range<usize>) {
        self.plain = plain;
    }

    pub(crate) fn plain(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// The header of the next record, if all of it was received.
    pub(crate) fn header(&self) -> Option<Header> {
        Header::of(&self.bytes[self.sealed.clone()])
    }

    /// Whether all of the next record was received.
    pub(crate) fn has_record(&self) -> bool {
        self.header()
            .is_some_and(|header| self.sealed.len() >= header.record_len())
    }

    /// Takes the next record, all of which was received. Returns where its body begins, and the
    /// body.
    pub(crate) fn take_record(&mut self, header: Header) -> (usize, &mut [u8]) {
        let end = self.sealed.start + header.record_len();
        let start = end - header.body_len();
        self.sealed.start = end;
        (start, &mut self.bytes[start..end])
    }

    /// Reads once from the socket; `wanted` is how much the caller has room for. 0 is the end of
    /// the stream.
    pub(crate) fn read(&mut self, socket: BorrowedFd<'_>, wanted: usize) -> io::Result<usize> {
        self.make_room();
        let len = if wanted >= LARGE_READ {
            self.bytes.len()
        } else {
            MAX_RECORD
        };
        let room = &mut self.bytes[self.sealed.end..len];
        let count = loop {
            match socket_calls::receive(socket, room) {
                Ok(count) => break count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        };
        self.sealed.end += count;
        Ok(count)
    }

    /// Moves what is left to the beginning of a full buffer. It is less than a record, and no
    /// plain bytes are left.
    fn make_room(&mut self) {
        let len = self.sealed.len();
        if self.bytes.len() < CAPACITY {
            let spare = SPARE.with_borrow_mut(Vec::pop);
            let mut larger = spare.unwrap_or_else(|| vec![0; CAPACITY].into());
            larger[..len].copy_from_slice(&self.bytes[self.sealed.clone()]);
            self.bytes = larger;
        } else {
            self.bytes.copy_within(self.sealed.clone(), 0);
        }
        (self.sealed, self.plain) = (0..len, 0..0);
    }

    #[cfg(test)]
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len()
    }

    /// Frees memory until the next call: the large buffer goes back to the thread, and only the
    /// bytes in it are kept.
    pub(crate) fn rest(&mut self) {
        if !self.plain.is_empty() || self.has_record() || self.bytes.len() < CAPACITY {
            return;
        }
        let partial: Box<[u8]> = self.bytes[self.sealed.clone()].into();
        self.sealed = 0..partial.len();
        self.plain = 0..0;
        let full = std::mem::replace(&mut self.bytes, partial);
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_BUFFERS {
                spare.push(full);
            }
        });
    }
}
