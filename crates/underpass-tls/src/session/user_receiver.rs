//! Records that this process opens.

use std::io;
use std::os::fd::BorrowedFd;

use rustls::{AlertDescription, ConnectionTrafficSecrets};
use underpass::TlsVersion;

use super::control::Violation;
use super::next::{BAD_RECORD, Next, Stop, TOO_LONG};
use crate::record::{ContentType, Header, Incoming, KeyError, KeyMaterial, Opened, TrafficKey};

/// Reads and opens records.
pub(super) struct UserReceiver {
    version: TlsVersion,
    key: TrafficKey,
    incoming: Incoming,
    pub(super) calls: u64,
}

const INVALID_HEADER: Violation = Violation {
    what: "the peer sent something that is no TLS record",
    alert: AlertDescription::UnexpectedMessage,
};

impl UserReceiver {
    /// `ahead` was read along with the handshake.
    pub(super) fn new(
        version: TlsVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
        ahead: Vec<u8>,
    ) -> io::Result<Self> {
        Ok(Self {
            version,
            key: key(version, sequence, secrets)?,
            incoming: Incoming::new(ahead),
            calls: 0,
        })
    }

    /// Whether a part of an opened record is left.
    pub(super) fn has_plain(&self) -> bool {
        self.incoming.has_plain()
    }

    /// Opens the next record. If none was received, reads once from `socket`, if that is given.
    pub(super) fn next<'a>(
        &'a mut self,
        socket: Option<BorrowedFd<'_>>,
        out: &'a mut [u8],
    ) -> Result<Next<'a>, Stop> {
        let plain = self.incoming.take_plain(out);
        if plain > 0 {
            return Ok(Next::Data(plain));
        }
        match self.incoming.header() {
            Some(header) if !header.is_known(self.version) => Err(Stop::Violation(INVALID_HEADER)),
            Some(header) if header.is_too_long(self.version) => Err(Stop::Violation(TOO_LONG)),
            Some(header) if self.incoming.has_record() => self.open(header, out),
            _ => {
                let Some(socket) = socket else {
                    return Ok(Next::Nothing);
                };
                self.calls += 1;
                match self.incoming.read(socket, out.len()) {
                    Ok(0) => Ok(Next::End),
                    Ok(_) => Ok(Next::Again),
                    Err(error) => Err(Stop::Socket(error)),
                }
            }
        }
    }

    fn open<'a>(&'a mut self, header: Header, out: &'a mut [u8]) -> Result<Next<'a>, Stop> {
        let (start, body) = self.incoming.take_record(header);
        let Opened {
            content_type,
            len,
            at,
        } = self.key.open(header.0, body, out).map_err(unopened)?;
        if content_type != ContentType::APPLICATION_DATA {
            let content = match at {
                Some(at) => self.incoming.plain(start + at..start + at + len),
                None => &out[..len],
            };
            return Ok(Next::Control(content_type, content));
        }
        let Some(at) = at else {
            return Ok(Next::Data(len));
        };
        self.incoming.keep_plain(start + at..start + at + len);
        Ok(match self.incoming.take_plain(out) {
            0 if self.incoming.has_plain() => Next::Kept,
            count => Next::Data(count),
        })
    }

    pub(super) fn set_key(&mut self, secrets: &ConnectionTrafficSecrets) -> io::Result<()> {
        self.key = key(self.version, 0, secrets)?;
        Ok(())
    }

    /// Frees memory until the next call.
    pub(super) fn rest(&mut self) {
        self.incoming.rest();
    }
}

fn key(
    version: TlsVersion,
    sequence: u64,
    secrets: &ConnectionTrafficSecrets,
) -> io::Result<TrafficKey> {
    let material = KeyMaterial::of(secrets);
    let key = material.and_then(|it| TrafficKey::new(version, sequence, &it).ok());
    key.ok_or_else(|| io::Error::other("the TLS key cannot be used"))
}

fn unopened(error: KeyError) -> Stop {
    Stop::Violation(match error {
        KeyError::TooLong => TOO_LONG,
        KeyError::NoContentType => Violation {
            what: "the peer sent a record without a type",
            alert: AlertDescription::UnexpectedMessage,
        },
        KeyError::Rejected | KeyError::UsedUp => BAD_RECORD,
    })
}
