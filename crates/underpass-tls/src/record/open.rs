//! Where records begin and end.

use underpass::TlsVersion;

/// The length of a record's header.
pub(crate) const HEADER_LEN: usize = 5;

/// The longest record with its header: what RFC 5246 allows a ciphertext to be longer than its
/// content, which is more than RFC 8446 allows.
pub(crate) const MAX_RECORD: usize = HEADER_LEN + (16 << 10) + 2048;

/// The header of a record, as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header(pub(crate) [u8; HEADER_LEN]);

impl Header {
    /// The header at the beginning of `bytes`, if it is there.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        bytes.first_chunk().copied().map(Self)
    }

    /// The length of the record's body.
    pub(crate) fn body_len(self) -> usize {
        usize::from(u16::from_be_bytes([self.0[3], self.0[4]]))
    }

    /// The length of the whole record.
    pub(crate) fn record_len(self) -> usize {
        HEADER_LEN + self.body_len()
    }

    /// Whether this is the beginning of a record at all: its type and version are known.
    pub(crate) fn is_of_a_record(self) -> bool {
        matches!(self.0[0], 20..=23) && self.0[1] == 3
    }

    /// Whether the body is longer than any version of the protocol allows.
    pub(crate) fn is_far_too_long(self) -> bool {
        self.record_len() > MAX_RECORD
    }

    /// Whether a record with this header can follow a handshake: its type and version are known.
    pub(crate) fn is_known(self, version: TlsVersion) -> bool {
        // In TLS 1.3 every record looks like application data from outside.
        let has_type = version == TlsVersion::Tls12 || self.0[0] == 23;
        has_type && self.is_of_a_record()
    }

    /// Whether the body is longer than the protocol allows.
    pub(crate) fn is_too_long(self, version: TlsVersion) -> bool {
        let expansion = match version {
            TlsVersion::Tls12 => 2048,
            _ => 256,
        };
        self.body_len() > (16 << 10) + expansion
    }
}
