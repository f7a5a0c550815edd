//! The bytes that a handshake has read. rustls is shown one record after another.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use crate::error::{FailureReason, HandshakeError};
use crate::record::{HEADER_LEN, Header};
use crate::socket_calls;

/// The most bytes that are kept. No handshake needs more before rustls has processed some.
const MAX_INCOMING: usize = 128 << 10;

/// How much is read at once where records need not be read exactly.
const READ_AHEAD: usize = 4 << 10;

/// The bytes that were read and that rustls has not processed. It is shown the first `shown` bytes.
#[derive(Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    shown: usize,
    /// Where the last record that was shown begins.
    last: usize,
    /// Whether a record was shown before.
    has_begun: bool,
}

impl Incoming {
    /// The bytes that rustls is shown.
    pub(super) fn shown(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.shown]
    }

    pub(super) fn is_shown(&self) -> bool {
        self.shown > 0
    }

    /// Removes the first `count` bytes, which rustls has processed.
    pub(super) fn discard(&mut self, count: usize) {
        self.bytes.drain(..count);
        self.shown -= count;
        self.last = self.last.saturating_sub(count);
    }

    /// The bytes that were read and come after the handshake.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Shows one more record, and reads it first if need be. Exactly one, so that rustls decrypts
    /// nothing that comes after the handshake. With `exact`, no byte of the next record is read.
    ///
    /// If the header is invalid or its record too long, rustls is shown the header alone, and
    /// refuses it with the right alert. But if the peer's first bytes are like that, it does not
    /// speak TLS at all, and this fails.
    pub(super) fn show_next(&mut self, socket: BorrowedFd<'_>, exact: bool) -> io::Result<()> {
        loop {
            let unseen = &self.bytes[self.shown..];
            let wanted = match Header::of(unseen) {
                Some(header) if !header.is_of_a_record() && !self.has_begun => {
                    return Err(not_tls(header));
                }
                Some(header) if !header.is_of_a_record() || header.is_far_too_long() => HEADER_LEN,
                Some(header) => header.record_len(),
                None => HEADER_LEN,
            };
            let Some(missing) = wanted.checked_sub(unseen.len()).filter(|it| *it > 0) else {
                self.last = self.shown;
                self.shown += wanted;
                self.has_begun = true;
                return Ok(());
            };
            if self.bytes.len() > MAX_INCOMING {
                return Err(HandshakeError::told(
                    FailureReason::Protocol,
                    "the peer's handshake is too long",
                ));
            }
            let most = if exact {
                missing
            } else {
                missing.max(READ_AHEAD)
            };
            self.read(socket, most)?;
        }
    }

    /// Overwrites the header of the last record with an invalid one, and appends another invalid
    /// header. So rustls refuses what it reads next, whether it has processed the last record or
    /// not.
    pub(super) fn spoil(&mut self) {
        const NO_HEADER: [u8; HEADER_LEN] = [0; HEADER_LEN];
        self.bytes.truncate(self.shown);
        if let Some(header) = self.bytes[self.last..].first_chunk_mut() {
            *header = NO_HEADER;
        }
        self.bytes.extend_from_slice(&NO_HEADER);
        self.shown = self.bytes.len();
    }

    /// Reads once, `most` bytes at most.
    fn read(&mut self, socket: BorrowedFd<'_>, most: usize) -> io::Result<()> {
        let len = self.bytes.len();
        self.bytes.resize(len + most, 0);
        let read = loop {
            match socket_calls::receive(socket, &mut self.bytes[len..]) {
                Err(Errno::INTR) => {}
                read => break read,
            }
        };
        let count = read.unwrap_or(0);
        self.bytes.truncate(len + count);
        match read {
            Ok(0) => Err(HandshakeError::told(
                FailureReason::Closed,
                "the peer closed the connection before it was complete",
            )),
            Ok(_) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Why the first bytes of a peer are not TLS.
fn not_tls(header: Header) -> io::Error {
    if is_http(&header.0) {
        HandshakeError::told(
            FailureReason::PlainHttp,
            "the peer speaks plain HTTP, not TLS",
        )
    } else {
        HandshakeError::told(FailureReason::NotTls, "what the peer sent is not TLS")
    }
}

/// Whether `start` can be the beginning of an HTTP response, or of a request: a method, and perhaps
/// a space.
fn is_http(start: &[u8]) -> bool {
    let method = start.split(|byte| *byte == b' ').next();
    let is_method = |it: &[u8]| it.len() >= 3 && it.iter().all(u8::is_ascii_uppercase);
    start.starts_with(b"HTTP/") || method.is_some_and(is_method)
}
