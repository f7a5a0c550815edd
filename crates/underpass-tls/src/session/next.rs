//! What comes next in the stream that is received, whoever opens its records.

use std::io;

use rustls::AlertDescription;

use super::control::Violation;
use crate::record::ContentType;

/// What comes next in the stream.
pub(super) enum Next<'a> {
    /// This many bytes of data were put into the caller's buffer.
    Data(usize),
    /// Data that did not fit into the caller's buffer, and is kept.
    Kept,
    /// A record of another type.
    Control(ContentType, &'a [u8]),
    /// Bytes were read: look again.
    Again,
    /// There is no record, and reading was not allowed.
    Nothing,
    /// TCP ended, without close_notify.
    End,
}

/// Why there is no next record.
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
