//! What comes next in the stream that is received, whoever opens its records.

use std::io;

use rustls::AlertDescription;

use super::control::Violation;
use crate::record::ContentType;

/// What comes next in the stream.
pub(super) enum Next<'a> {
    /// So many bytes of data were put into the buffer.
    Data(usize),
    /// Data that is kept, because there was no room for it.
    Kept,
    /// A record of another type.
    Control(ContentType, &'a [u8]),
    /// Something was read: look again.
    Again,
    /// Nothing without reading.
    Nothing,
    /// The stream ended, without a word of TLS.
    End,
}

/// Why there is no next.
pub(super) enum Stop {
    Socket(io::Error),
    Violation(Violation),
}

/// A record that was changed, or sealed with another key.
pub(super) const BAD_RECORD: Violation = Violation {
    what: "a record was changed on its way",
    alert: AlertDescription::BadRecordMac,
};

pub(super) const TOO_LONG: Violation = Violation {
    what: "the peer sent a record that is too long",
    alert: AlertDescription::RecordOverflow,
};
