//! The heads of frames (RFC 9113 section 4.1).

/// The length of a frame's head.
pub(super) const HEAD: usize = 9;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

/// Of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;

/// Where the flags are in a head.
pub(super) const FLAGS_AT: usize = 4;

/// Error codes (RFC 9113 section 7).
pub(super) const NO_ERROR: u32 = 0;
pub(super) const INTERNAL_ERROR: u32 = 2;
pub(super) const COMPRESSION_ERROR: u32 = 9;
pub(super) const ENHANCE_YOUR_CALM: u32 = 11;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHead {
    /// The length of what follows the head.
    pub(super) len: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    /// 0 for the connection.
    pub(super) stream: u32,
}

impl FrameHead {
    pub(super) fn parse(bytes: &[u8; HEAD]) -> Self {
        let [a, b, c, kind, flags, stream @ ..] = *bytes;
        Self {
            len: u32::from_be_bytes([0, a, b, c]) as usize,
            kind,
            flags,
            // The first bit is reserved.
            stream: u32::from_be_bytes(stream) & (u32::MAX >> 1),
        }
    }

    pub(super) fn bytes(self) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        head[..3].copy_from_slice(&(self.len as u32).to_be_bytes()[1..]);
        head[3] = self.kind;
        head[FLAGS_AT] = self.flags;
        head[5..].copy_from_slice(&self.stream.to_be_bytes());
        head
    }

    pub(super) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(super) fn ends_stream(self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.has(END_STREAM)
    }
}

/// A frame of one number: RST_STREAM or WINDOW_UPDATE.
pub(super) fn with_number(kind: u8, stream: u32, number: u32) -> [u8; HEAD + 4] {
    let head = FrameHead {
        len: 4,
        kind,
        flags: 0,
        stream,
    };
    let mut frame = [0; HEAD + 4];
    frame[..HEAD].copy_from_slice(&head.bytes());
    frame[HEAD..].copy_from_slice(&number.to_be_bytes());
    frame
}

/// GOAWAY: streams above `last` were not looked at.
pub(super) fn go_away(last: u32, code: u32) -> [u8; HEAD + 8] {
    let head = FrameHead {
        len: 8,
        kind: GOAWAY,
        flags: 0,
        stream: 0,
    };
    let mut frame = [0; HEAD + 8];
    frame[..HEAD].copy_from_slice(&head.bytes());
    frame[HEAD..][..4].copy_from_slice(&last.to_be_bytes());
    frame[HEAD + 4..].copy_from_slice(&code.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_are_written() {
        let head = FrameHead {
            len: 0x01_02_03,
            kind: HEADERS,
            flags: END_STREAM | END_HEADERS,
            stream: 0x7fff_fff1,
        };
        assert_eq!(FrameHead::parse(&head.bytes()), head);
        let mut reserved = head.bytes();
        reserved[5] |= 0x80;
        assert_eq!(FrameHead::parse(&reserved), head);
        assert!(head.ends_stream());
        assert_eq!(
            with_number(RST_STREAM, 5, 8),
            [0, 0, 4, 3, 0, 0, 0, 0, 5, 0, 0, 0, 8]
        );
        assert_eq!(go_away(7, 11)[9..], [0, 0, 0, 7, 0, 0, 0, 11]);
    }
}
