//! Finds the end of a chunked body (RFC 9112 section 7.1). Errors in it are left to hyper, except a
//! bare LF in the trailer, after which hyper would wait for another line end.

use crate::server::refusal::{Refusal, bad};

/// The state of the parser: where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkedBody {
    /// In the line with a chunk's size: in its digits, or after them (`behind`).
    Size { size: u64, behind: bool },
    /// In a chunk: the number of bytes left, including the line end after it.
    Data(u64),
    /// In a line of the trailer.
    Trailer { last: u8, is_empty: bool },
    /// After the body.
    Ended,
}

impl Default for ChunkedBody {
    fn default() -> Self {
        Self::SIZE
    }
}

impl ChunkedBody {
    const SIZE: Self = Self::Size {
        size: 0,
        behind: false,
    };
    const TRAILER: Self = Self::Trailer {
        last: 0,
        is_empty: true,
    };

    pub(super) fn is_ended(self) -> bool {
        self == Self::Ended
    }

    /// Parses the next bytes, and returns how many of them belong to this body.
    pub(super) fn parse(&mut self, bytes: &[u8]) -> Result<usize, Refusal> {
        let mut at = 0;
        while at < bytes.len() {
            match *self {
                Self::Ended => break,
                Self::Data(left) => {
                    let count = left.min((bytes.len() - at) as u64);
                    *self = match left - count {
                        0 => Self::SIZE,
                        left => Self::Data(left),
                    };
                    at += count as usize;
                }
                Self::Size { size, behind } => {
                    *self = in_size(size, behind, bytes[at]);
                    at += 1;
                }
                Self::Trailer { last, is_empty } => {
                    *self = in_trailer(last, is_empty, bytes[at])?;
                    at += 1;
                }
            }
        }
        Ok(at)
    }
}

fn in_size(size: u64, behind: bool, byte: u8) -> ChunkedBody {
    let digit = char::from(byte).to_digit(16).filter(|_| !behind);
    match (byte, digit) {
        (b'\n', _) if size == 0 => ChunkedBody::TRAILER,
        // The chunk and the line end after it.
        (b'\n', _) => ChunkedBody::Data(size.saturating_add(2)),
        (_, Some(digit)) => ChunkedBody::Size {
            // hyper refuses sizes that are too large for this.
            size: size.saturating_mul(16).saturating_add(u64::from(digit)),
            behind,
        },
        _ => ChunkedBody::Size { size, behind: true },
    }
}

fn in_trailer(last: u8, is_empty: bool, byte: u8) -> Result<ChunkedBody, Refusal> {
    match (last, byte) {
        (b'\r', b'\n') if is_empty => Ok(ChunkedBody::Ended),
        (b'\r', b'\n') => Ok(ChunkedBody::TRAILER),
        (_, b'\n') => Err(bad("a line of the body's trailer ends in a bare LF\n")),
        (_, byte) => Ok(ChunkedBody::Trailer {
            last: byte,
            is_empty: is_empty && byte == b'\r' && last == 0,
        }),
    }
}
