//! Follows a chunked body to its end (RFC 9112 section 7.1), and refuses one that two parsers could
//! read differently. hyper is more lenient, and would wait for another line end after a bare LF in
//! the trailer.

use chunk_extension::ChunkExtension;

use crate::server::refusal::{Refusal, bad};

mod chunk_extension;

/// The state of the parser: where in the body the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChunkedBody {
    /// In the digits of a chunk's size.
    Size { size: u64, is_empty: bool },
    /// Behind the digits, in the same line.
    Extension { size: u64, at: ChunkExtension },
    /// Before the LF of that line.
    SizeEnd { size: u64 },
    /// In a chunk: the number of bytes left.
    Data(u64),
    /// In the line end after a chunk: before its CR, or before its LF.
    DataEnd { is_cr_seen: bool },
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
        is_empty: true,
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
            if *self == Self::Ended {
                break;
            }
            if let Self::Data(left) = *self {
                let count = left.min((bytes.len() - at) as u64);
                *self = match left - count {
                    0 => Self::DataEnd { is_cr_seen: false },
                    left => Self::Data(left),
                };
                at += count as usize;
            } else {
                *self = self.next(bytes[at])?;
                at += 1;
            }
        }
        Ok(at)
    }

    /// The state after a byte that is not in a chunk.
    fn next(self, byte: u8) -> Result<Self, Refusal> {
        match self {
            Self::Size { size, is_empty } => in_size(size, is_empty, byte),
            Self::Extension { size, at } => match (byte, at.next(byte)) {
                (b'\r', _) if at.is_complete() => Ok(Self::SizeEnd { size }),
                (_, Some(at)) => Ok(Self::Extension { size, at }),
                (_, None) => Err(bad("the extension of a chunk is not valid\n")),
            },
            Self::SizeEnd { size } => match (byte, size) {
                (b'\n', 0) => Ok(Self::TRAILER),
                (b'\n', size) => Ok(Self::Data(size)),
                _ => Err(bad("the line with a chunk's size has a bare CR\n")),
            },
            Self::DataEnd { is_cr_seen } => match (byte, is_cr_seen) {
                (b'\r', false) => Ok(Self::DataEnd { is_cr_seen: true }),
                (b'\n', true) => Ok(Self::SIZE),
                _ => Err(bad("a chunk is not as long as its size says\n")),
            },
            Self::Trailer { last, is_empty } => in_trailer(last, is_empty, byte),
            Self::Data(_) | Self::Ended => Ok(self),
        }
    }
}

fn in_size(size: u64, is_empty: bool, byte: u8) -> Result<ChunkedBody, Refusal> {
    if let Some(digit) = char::from(byte).to_digit(16) {
        return match size.checked_mul(16) {
            Some(size) => Ok(ChunkedBody::Size {
                size: size + u64::from(digit),
                is_empty: false,
            }),
            None => Err(bad("the size of a chunk is too large\n")),
        };
    }
    let extension = ChunkExtension::begin(byte).filter(|_| !is_empty);
    match (byte, extension) {
        (b'\r', _) if !is_empty => Ok(ChunkedBody::SizeEnd { size }),
        (_, Some(at)) => Ok(ChunkedBody::Extension { size, at }),
        _ => Err(bad("the size of a chunk is not a hexadecimal number\n")),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the body is read to its end; it must not matter how it is cut.
    fn is_read(body: &[u8]) -> bool {
        let read = |piece: usize| {
            let mut state = ChunkedBody::default();
            let mut pieces = body.chunks(piece);
            pieces.all(|piece| state.parse(piece) == Ok(piece.len())) && state.is_ended()
        };
        let whole = read(body.len());
        assert!((1..body.len()).all(|piece| read(piece) == whole));
        whole
    }

    #[test]
    fn the_grammar_of_the_rfc_is_read() {
        for body in [
            &b"5\r\nhello\r\n0\r\n\r\n"[..],
            b"5\r\nhello\r\n000\r\n\r\n",
            b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
            b"0004\r\n\r\n\r\n\r\n0\r\n\r\n",
            b"5;a\r\nhello\r\n0;b=c\r\n\r\n",
            b"5;a=b;c=\"d;\\\" e\";f\r\nhello\r\n0\r\n\r\n",
            b"5 ; a = b\t;\tc=\"\"\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\nA: b\r\nC: d\r\n\r\n",
        ] {
            assert!(is_read(body), "{}", body.escape_ascii());
        }
    }

    /// The cases of Http11Probe, and their relatives.
    #[test]
    fn what_two_parsers_could_read_differently_is_not() {
        for size in [
            &b"5;\r\n"[..],
            b"5;;a\r\n",
            b"5;a[b\r\n",
            b"5;a\0b\r\n",
            b"5;a\rX\r\n",
            b"5;a=\r\n",
            b"5;=b\r\n",
            b"5;a=\"b\r\n",
            b"5;a=\"b\"c\r\n",
            b"5;a=\"b\rc\"\r\n",
            b"5;a\n",
            b"5;\n",
            b"5 \r\n",
            b"5;a \r\n",
            b" 5\r\n",
            b"\t5\r\n",
            b"5 5\r\n",
            b"+5\r\n",
            b"-5\r\n",
            b"0x5\r\n",
            b"5_0\r\n",
            b"5.0\r\n",
            b"\r\n",
            b";a\r\n",
            b"5\n",
            b"5\r",
            b"5\rX\r\n",
            b"10000000000000005\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            let body = [size, b"hello\r\n0\r\n\r\n"].concat();
            assert!(!is_read(&body), "{}", body.escape_ascii());
        }
        for body in [
            &b"5\r\nhello0\r\n\r\n"[..],
            b"5\r\nhello\n0\r\n\r\n",
            b"5\r\nhello\r0\r\n\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"6\r\nhello\r\n0\r\n\r\n",
            b"5\r\nhello\r\n0\r\n\n",
            b"5\r\nhello\r\n0\n\r\n",
            b"5\r\nhello\r\n0\r\nA: b\n\r\n",
        ] {
            assert!(!is_read(body), "{}", body.escape_ascii());
        }
    }
}
