//! Records that the kernel opens.

use std::io;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustls::{AlertDescription, ConnectionTrafficSecrets};
use underpass::TlsVersion;

use super::control::Violation;
use super::next::{BAD_RECORD, Next, Stop, TOO_LONG};
use crate::kernel::CryptoInfo;
use crate::record::{ContentType, KeyMaterial};
use crate::socket_calls::{Call, moving};
use crate::sys::{self, Direction};

/// Receives what the kernel has opened.
pub(super) struct KernelReceiver {
    version: TlsVersion,
    /// The part of a record without data that was received.
    record: Vec<u8>,
    /// A record without data that was received completely.
    whole: Vec<u8>,
    pub(super) calls: u64,
}

impl KernelReceiver {
    /// Gives the key to the kernel.
    pub(super) fn new(
        socket: BorrowedFd<'_>,
        version: TlsVersion,
        sequence: u64,
        material: &KeyMaterial<'_>,
    ) -> Result<Self, Errno> {
        let info = CryptoInfo::new(version, sequence, material);
        sys::set_key(socket, Direction::Receiving, info.bytes())?;
        Ok(Self {
            version,
            record: Vec::new(),
            whole: Vec::new(),
            calls: 1,
        })
    }

    /// Receives from the next record, of whatever type. Never by a plain read(2), which fails where
    /// a record is not data (pitfall 39).
    pub(super) fn next<'a>(
        &'a mut self,
        socket: BorrowedFd<'_>,
        out: &'a mut [u8],
    ) -> Result<Next<'a>, Stop> {
        self.whole = Vec::new();
        let received = self.receive(socket, out, false)?;
        match received.content_type {
            None => Ok(Next::End),
            Some(ContentType::APPLICATION_DATA) => Ok(Next::Data(received.count)),
            Some(other) if received.is_end && self.record.is_empty() => {
                Ok(Next::Control(other, &out[..received.count]))
            }
            Some(other) => {
                self.record.extend_from_slice(&out[..received.count]);
                self.finish_record(socket, other, received.is_end)
            }
        }
    }

    /// Receives the rest of a record that is longer than the caller's buffer.
    fn finish_record(
        &mut self,
        socket: BorrowedFd<'_>,
        content_type: ContentType,
        is_end: bool,
    ) -> Result<Next<'_>, Stop> {
        let mut is_end = is_end;
        while !is_end {
            let mut part = [0; 4 << 10];
            let received = self.receive(socket, &mut part, false)?;
            self.record.extend_from_slice(&part[..received.count]);
            is_end = received.is_end || received.count == 0;
        }
        self.whole = std::mem::take(&mut self.record);
        Ok(Next::Control(content_type, &self.whole))
    }

    /// Whether the next record has data.
    pub(super) fn has_data(&mut self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        match self.receive(socket, &mut [0], true) {
            Ok(received) => {
                Ok(received.count > 0
                    && received.content_type == Some(ContentType::APPLICATION_DATA))
            }
            // The next receive returns the violation.
            Err(Stop::Violation(_)) => Ok(false),
            Err(Stop::Socket(error)) => Err(error),
        }
    }

    /// The type of the next record. `None` if the stream has ended.
    pub(super) fn peek(&mut self, socket: BorrowedFd<'_>) -> io::Result<Option<ContentType>> {
        match self.receive(socket, &mut [0], true) {
            Ok(received) => Ok(received.content_type),
            Err(Stop::Socket(error)) => Err(error),
            Err(Stop::Violation(violation)) => {
                Err(underpass::LayerError::Broken(violation.what).into())
            }
        }
    }

    pub(super) fn set_key(
        &mut self,
        socket: BorrowedFd<'_>,
        secrets: &ConnectionTrafficSecrets,
    ) -> io::Result<()> {
        let material = KeyMaterial::of(secrets).ok_or(Errno::INVAL)?;
        let info = CryptoInfo::new(self.version, 0, &material);
        self.calls += 1;
        Ok(sys::set_key(socket, Direction::Receiving, info.bytes())?)
    }

    fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        out: &mut [u8],
        peek: bool,
    ) -> Result<sys::Received, Stop> {
        loop {
            self.calls += 1;
            match receive(socket, out, peek) {
                Err(Errno::INTR) => {}
                received => return received.map_err(stop),
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>, out: &mut [u8], peek: bool) -> Result<sys::Received, Errno> {
    let mut received = sys::Received {
        count: 0,
        content_type: None,
        is_end: false,
    };
    moving(Call::Receive, socket, out.len(), |len| {
        received = sys::receive(socket, &mut out[..len], peek)?;
        // What is only looked at is not received yet.
        Ok(if peek { 0 } else { received.count })
    })?;
    Ok(received)
}

/// The kernel's errors that mean that the record is wrong, not the socket (networking/tls.rst).
fn stop(errno: Errno) -> Stop {
    match errno {
        Errno::BADMSG => Stop::Violation(BAD_RECORD),
        Errno::MSGSIZE => Stop::Violation(TOO_LONG),
        // A header with another version.
        Errno::INVAL => Stop::Violation(Violation {
            what: "the peer sent something that is no TLS record",
            alert: AlertDescription::UnexpectedMessage,
        }),
        other => Stop::Socket(other.into()),
    }
}
