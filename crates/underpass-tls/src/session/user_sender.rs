//! Records that this process seals.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::ConnectionTrafficSecrets;
use underpass::TlsVersion;

use crate::record::{ContentType, KeyError, KeyMaterial, Outgoing, TrafficKey};
use crate::socket_calls;

/// Seals records, and keeps those that the socket has not taken.
pub(super) struct UserSender {
    key: TrafficKey,
    outgoing: Option<Outgoing>,
    pub(super) calls: u64,
    /// Bytes of data that were encrypted.
    pub(super) encrypted: u64,
}

impl UserSender {
    pub(super) fn new(
        version: TlsVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> io::Result<Self> {
        Ok(Self {
            key: key(version, sequence, secrets)?,
            outgoing: None,
            calls: 0,
            encrypted: 0,
        })
    }

    /// Seals a batch of records and sends what the socket takes. All that was sealed before must
    /// have been sent.
    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize> {
        let outgoing = self.outgoing.get_or_insert_with(Outgoing::take);
        let sealed = outgoing
            .seal_data(&mut self.key, slices)
            .map_err(unsealed)?;
        self.encrypted += sealed as u64;
        match check().and_then(|()| self.push(socket, more)) {
            Ok(()) => Ok(sealed),
            // The records that the socket did not take are kept.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(sealed),
            Err(error) => {
                // Their bytes were not taken.
                self.discard();
                Err(error)
            }
        }
    }

    /// Sends sealed records, as far as the socket takes them.
    pub(super) fn push(&mut self, socket: BorrowedFd<'_>, more: bool) -> io::Result<()> {
        let Some(outgoing) = &mut self.outgoing else {
            return Ok(());
        };
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more);
        while !outgoing.is_empty() {
            self.calls += 1;
            match socket_calls::send(socket, outgoing.unsent(), flags) {
                Ok(count) => outgoing.sent(count),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.discard();
        Ok(())
    }

    pub(super) fn seal_control(
        &mut self,
        content_type: ContentType,
        content: &[u8],
    ) -> io::Result<()> {
        let outgoing = self.outgoing.get_or_insert_with(Outgoing::take);
        let sealed = outgoing.seal_control(&mut self.key, content_type, content);
        sealed.map_err(unsealed)
    }

    pub(super) fn set_key(
        &mut self,
        version: TlsVersion,
        sequence: u64,
        secrets: &ConnectionTrafficSecrets,
    ) -> io::Result<()> {
        self.key = key(version, sequence, secrets)?;
        Ok(())
    }

    pub(super) fn records_left(&self) -> u64 {
        self.key.records_left()
    }

    pub(super) fn has_records(&self) -> bool {
        self.outgoing.is_some()
    }

    pub(super) fn unsent_data(&self) -> u64 {
        self.outgoing.as_ref().map_or(0, Outgoing::unsent_data) as u64
    }

    /// Discards the records that were not sent.
    pub(super) fn discard(&mut self) {
        if let Some(outgoing) = self.outgoing.take() {
            outgoing.give_back();
        }
    }
}

fn key(
    version: TlsVersion,
    sequence: u64,
    secrets: &ConnectionTrafficSecrets,
) -> io::Result<TrafficKey> {
    let material = KeyMaterial::of(secrets).ok_or_else(|| unsealed(KeyError::Rejected))?;
    TrafficKey::new(version, sequence, &material).map_err(unsealed)
}

/// This happens only with a worn-out key: the lengths are right, and AEADs do not fail to encrypt.
fn unsealed(error: KeyError) -> io::Error {
    io::Error::other(format!("a TLS record could not be sealed: {error:?}"))
}
