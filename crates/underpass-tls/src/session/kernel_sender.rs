//! Records that the kernel seals.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::ConnectionTrafficSecrets;
use underpass::TlsVersion;

use crate::kernel::{CryptoInfo, support};
use crate::record::{ContentType, GCM_RECORD_LIMIT, KeyMaterial, MAX_PLAIN};
use crate::socket_calls::{self, Call, moving};
use crate::sys::{self, Direction};

/// After this many records by our own count, which is never too low, the kernel is asked for its
/// count.
const ASK_AFTER: u64 = 1 << 20;

/// The level of an alert that ends a connection.
const FATAL: u8 = 2;

/// Sends bytes that the kernel seals.
pub(super) struct KernelSender {
    /// A `MSG_MORE` has left a record open (pitfall 42).
    has_open_record: bool,
    /// The number of the next record, as the kernel said when it was last asked.
    sequence: u64,
    /// The most records that can have been sealed since then.
    since: u64,
    limit: u64,
    can_rekey: bool,
    pub(super) calls: u64,
}

impl KernelSender {
    /// Gives the key to the kernel. From then on nothing leaves this socket in plain text.
    pub(super) fn new(
        socket: BorrowedFd<'_>,
        version: TlsVersion,
        sequence: u64,
        material: &KeyMaterial<'_>,
    ) -> Result<Self, Errno> {
        let info = CryptoInfo::new(version, sequence, material);
        sys::set_key(socket, Direction::Sending, info.bytes())?;
        let is_gcm = material.cipher != underpass::TlsCipher::ChaCha20Poly1305;
        Ok(Self {
            has_open_record: false,
            sequence,
            since: 0,
            limit: if is_gcm { GCM_RECORD_LIMIT } else { u64::MAX },
            can_rekey: version != TlsVersion::Tls12 && support().rekeys,
            calls: 1,
        })
    }

    pub(super) fn send(
        &mut self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize> {
        check()?;
        let mut flags = SendFlags::NOSIGNAL;
        flags.set(SendFlags::MORE, more);
        let sent = loop {
            self.calls += 1;
            match socket_calls::send_slices(socket, slices, flags) {
                Err(Errno::INTR) => {}
                sent => break sent,
            }
        };
        let len: usize = slices.iter().map(|slice| slice.len()).sum();
        match sent {
            Ok(count) => {
                self.count(count as u64);
                // If not all was taken, the record is still open.
                self.has_open_record = more || count < len;
                Ok(count)
            }
            Err(errno) => {
                if errno == Errno::AGAIN {
                    self.push_pending(socket);
                }
                Err(errno.into())
            }
        }
    }

    /// `count` bytes were sent by sendfile(2) or splice(2); 0 if that would have blocked.
    pub(super) fn sent(&mut self, socket: BorrowedFd<'_>, count: u64) {
        if count > 0 {
            self.count(count);
            // sendfile(2) and splice(2) end their record.
            self.has_open_record = false;
        } else {
            self.push_pending(socket);
        }
        if self.since >= ASK_AFTER {
            self.ask(socket);
        }
    }

    /// Ends the record that `MSG_MORE` has left open. Nothing else does: there is no timer for it.
    pub(super) fn end_record(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        if self.has_open_record {
            self.send_control(socket, ContentType::APPLICATION_DATA, &[])?;
        }
        Ok(())
    }

    /// Sends a record of another type. It ends an open record first.
    pub(super) fn send_control(
        &mut self,
        socket: BorrowedFd<'_>,
        content_type: ContentType,
        content: &[u8],
    ) -> io::Result<()> {
        if content_type == ContentType::ALERT && content.first() == Some(&FATAL) {
            self.forget_error(socket);
        }
        loop {
            self.calls += 1;
            match send_record(socket, content_type, content) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.has_open_record = false;
        self.since += 2;
        Ok(())
    }

    pub(super) fn set_key(
        &mut self,
        socket: BorrowedFd<'_>,
        version: TlsVersion,
        secrets: &ConnectionTrafficSecrets,
    ) -> io::Result<()> {
        let material = KeyMaterial::of(secrets).ok_or(Errno::INVAL)?;
        let info = CryptoInfo::new(version, 0, &material);
        self.calls += 1;
        sys::set_key(socket, Direction::Sending, info.bytes())?;
        (self.sequence, self.since) = (0, 0);
        Ok(())
    }

    pub(super) fn records_left(&self) -> u64 {
        let used = self.sequence.saturating_add(self.since);
        self.limit.saturating_sub(used)
    }

    pub(super) fn can_rekey(&self) -> bool {
        self.can_rekey
    }

    pub(super) fn has_open_record(&self) -> bool {
        self.has_open_record
    }

    /// Counts the records that `bytes` may have been sealed into.
    fn count(&mut self, bytes: u64) {
        self.since += bytes / MAX_PLAIN as u64 + 2;
    }

    /// Clears the socket's error. A record that the kernel could not open leaves one, and then the
    /// send that tells the peer would fail.
    fn forget_error(&mut self, socket: BorrowedFd<'_>) {
        self.calls += 1;
        // Its value does not matter: reading has returned it, or sending will fail again.
        let _ = rustix::net::sockopt::socket_error(socket);
    }

    /// Asks the kernel how many records it has sealed, if it tells.
    fn ask(&mut self, socket: BorrowedFd<'_>) {
        self.calls += 1;
        if let Ok(sequence) = sys::sequence(socket, Direction::Sending) {
            (self.sequence, self.since) = (sequence, 0);
        }
    }

    /// In Linux 6.1, a socket with a small send buffer that refused to take more is never writable
    /// again, unless TCP is told to send what it has (pitfall 43). Other kernels do not need this;
    /// there it costs one call for each wait.
    fn push_pending(&mut self, socket: BorrowedFd<'_>) {
        self.calls += 1;
        // This fails only if the socket is not TCP, or the connection is over.
        let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
    }
}

fn send_record(
    socket: BorrowedFd<'_>,
    content_type: ContentType,
    content: &[u8],
) -> Result<usize, Errno> {
    // A record is sent as a whole or not at all.
    moving(Call::Send, socket, content.len(), |_| {
        sys::send_record(socket, content_type, content)
    })
}
