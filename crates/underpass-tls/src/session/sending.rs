//! The sending direction.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::ConnectionTrafficSecrets;

use crate::record::{ContentType, KeyError, Outgoing, TrafficKey};
use underpass::{LayerError, TlsVersion};

/// Gives the secrets of the next key.
type NextKey<'a> = &'a mut dyn FnMut() -> io::Result<ConnectionTrafficSecrets>;

/// A KeyUpdate that asks for none in return.
const KEY_UPDATE: [u8; 5] = [24, 0, 0, 1, 0];

const CLOSE_NOTIFY: [u8; 2] = [1, 0];
const NO_RENEGOTIATION: [u8; 2] = [1, 100];

/// When a key may seal only so many more records, it is replaced.
const KEY_RESERVE: u64 = 64;

pub(super) struct Sending {
    version: TlsVersion,
    key: TrafficKey,
    /// Sealed records that the socket has not taken.
    outgoing: Option<Outgoing>,
    owes_key_update: bool,
    owed_alert: Option<[u8; 2]>,
    state: State,
    calls: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// No more data may be sent; what is owed still is.
    Closed,
    /// Nothing may be sent any more.
    Failed,
}

impl Sending {
    pub(super) fn new(
        version: TlsVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> io::Result<Self> {
        Ok(Self {
            version,
            key: TrafficKey::new(version, sequence, &secrets).map_err(unsealed)?,
            outgoing: None,
            owes_key_update: false,
            owed_alert: None,
            state: State::Open,
            calls: 0,
        })
    }

    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
        next_key: NextKey<'_>,
    ) -> io::Result<usize> {
        if self.state != State::Open {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.flush(socket, next_key)?;
        self.replace_worn_key(next_key)?;
        let mut outgoing = self.outgoing.take().unwrap_or_else(Outgoing::take);
        let sealed = outgoing.seal_data(&mut self.key, slices).map_err(unsealed);
        let checked = sealed.and_then(|sealed| check().map(|()| sealed));
        self.outgoing = Some(outgoing);
        let sealed = checked.inspect_err(|_| self.fail())?;
        match self.push(socket, more) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            // What the socket did not take waits here.
            _ => Ok(sealed),
        }
    }

    pub(super) fn flush(
        &mut self,
        socket: BorrowedFd<'_>,
        next_key: NextKey<'_>,
    ) -> io::Result<()> {
        loop {
            self.push(socket, false)?;
            if self.state == State::Failed {
                return Ok(());
            }
            if std::mem::take(&mut self.owes_key_update) {
                self.update_key(next_key)?;
            } else if let Some(alert) = self.owed_alert.take() {
                self.seal_control(ContentType::ALERT, &alert)?;
            } else {
                return Ok(());
            }
        }
    }

    /// Bytes of data that were taken and are still here.
    pub(super) fn unsent(&self) -> u64 {
        self.outgoing.as_ref().map_or(0, Outgoing::unsent_data) as u64
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls
    }

    pub(super) fn has_unsent(&self) -> bool {
        self.state != State::Failed
            && (self.outgoing.is_some() || self.owes_key_update || self.owed_alert.is_some())
    }

    pub(super) fn close(&mut self) {
        if self.state == State::Open {
            self.state = State::Closed;
            self.owed_alert = Some(CLOSE_NOTIFY);
        }
    }

    /// Ends the connection by a fatal alert.
    pub(super) fn end_by_alert(&mut self, alert: u8) {
        if self.state != State::Failed {
            self.state = State::Closed;
            self.owed_alert = Some([2, alert]);
        }
    }

    /// Nothing may be sent any more, not even that it ends.
    pub(super) fn fail(&mut self) {
        self.state = State::Failed;
        self.outgoing = None;
    }

    pub(super) fn owe_key_update(&mut self) {
        self.owes_key_update = self.state == State::Open;
    }

    pub(super) fn refuse_renegotiation(&mut self) {
        if self.state == State::Open {
            self.owed_alert = Some(NO_RENEGOTIATION);
        }
    }

    /// Sends sealed records, as far as the socket takes them.
    fn push(&mut self, socket: BorrowedFd<'_>, more: bool) -> io::Result<()> {
        let Some(outgoing) = &mut self.outgoing else {
            return Ok(());
        };
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more);
        while !outgoing.is_empty() {
            self.calls += 1;
            match rustix::net::send(socket, outgoing.unsent(), flags) {
                Ok(count) => outgoing.sent(count),
                Err(Errno::INTR) => {}
                Err(errno) => {
                    if errno != Errno::AGAIN {
                        self.fail();
                    }
                    return Err(errno.into());
                }
            }
        }
        if let Some(empty) = self.outgoing.take() {
            empty.give_back();
        }
        Ok(())
    }

    /// A key wears out (pitfall 41): TLS 1.3 takes another, and TLS 1.2, which cannot, ends.
    fn replace_worn_key(&mut self, next_key: NextKey<'_>) -> io::Result<()> {
        if self.key.records_left() > KEY_RESERVE {
            return Ok(());
        }
        if self.version == TlsVersion::Tls12 {
            let told = "the key has sealed as much as it may; connect again";
            return Err(LayerError::Broken(told).into());
        }
        self.update_key(next_key)
    }

    fn update_key(&mut self, next_key: NextKey<'_>) -> io::Result<()> {
        self.seal_control(ContentType::HANDSHAKE, &KEY_UPDATE)?;
        self.key = TrafficKey::new(self.version, 0, &next_key()?).map_err(unsealed)?;
        Ok(())
    }

    fn seal_control(&mut self, content_type: ContentType, content: &[u8]) -> io::Result<()> {
        let outgoing = self.outgoing.get_or_insert_with(Outgoing::take);
        let sealed = outgoing.seal_control(&mut self.key, content_type, content);
        sealed.map_err(unsealed)
    }
}

/// Only a key that is worn out leads here: lengths are right, and AEADs do not fail to encrypt.
fn unsealed(error: KeyError) -> io::Error {
    io::Error::other(format!("a TLS record could not be sealed: {error:?}"))
}
