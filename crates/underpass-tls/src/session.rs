//! An established connection: what its handshake agreed on, and its records.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

use underpass::{Control, LayerError};

use crate::error::{HandshakeError, alert_name};
use crate::info::TlsInfo;

mod control;
mod layer;
mod receiving;
mod sending;

use control::{ControlReader, Event, Violation};
use receiving::Receiving;
use sending::Sending;

/// An established TLS connection, without its descriptor.
///
/// Every call is given the descriptor, makes calls on it that do not block, and must always be
/// given the same one. It can be used by several threads; each direction has its lock.
///
/// A caller that waits must wait for both directions: reading can make something to send
/// ([`has_unsent`](Self::has_unsent)), which [`flush`](Self::flush) sends.
pub struct Session {
    info: TlsInfo,
    secrets: Mutex<Secrets>,
    sending: Mutex<Sending>,
    receiving: Mutex<Receiving>,
}

/// rustls's part of an established connection: the secrets that the next keys are made of.
pub(crate) enum Secrets {
    Server(KernelConnection<ServerConnectionData>),
    Client(KernelConnection<ClientConnectionData>),
}

impl Session {
    pub(crate) fn new(
        info: TlsInfo,
        secrets: ExtractedSecrets,
        connection: Secrets,
        ahead: Vec<u8>,
        _socket: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let is_client = matches!(connection, Secrets::Client(_));
        let control = ControlReader::new(info.version, is_client);
        let ExtractedSecrets { tx, rx } = secrets;
        Ok(Self {
            sending: Mutex::new(Sending::new(info.version, tx)?),
            receiving: Mutex::new(Receiving::new(info.version, rx, control, ahead)?),
            secrets: Mutex::new(connection),
            info,
        })
    }

    /// What the handshake agreed on, and who seals the records.
    pub fn info(&self) -> &TlsInfo {
        &self.info
    }

    /// Seals some of `slices` and sends that, and says how many of their bytes were taken. They are
    /// on their way only when [`flush`](Self::flush) says so. `more` says that other bytes follow
    /// at once (`MSG_MORE`, send(2)); something must follow.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full: nothing was taken. `BrokenPipe` after
    /// [`close`](Self::close); those of the socket.
    pub fn send(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> io::Result<usize> {
        self.send_checked(socket, slices, more, &mut || Ok(()))
    }

    /// Like [`send`](Self::send), and calls `check` when the slices were read for the last time and
    /// before anything that was made of them is sent. If it fails, nothing is sent any more, and
    /// the peer sees a stream that was cut.
    ///
    /// This is for slices of mapped files, which may turn out to have been truncated. In kernel
    /// mode the kernel reads the slices while it sends them, so `check` is called first.
    ///
    /// # Errors
    /// Those of [`send`](Self::send) and of `check`.
    pub fn send_checked(
        &self,
        socket: BorrowedFd<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> io::Result<usize> {
        let mut sending = lock(&self.sending);
        sending.send(socket, slices, more, check, &mut || self.next_sending_key())
    }

    /// Sends what is sealed and not sent: records that the socket did not take, and answers to the
    /// peer.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full and something is left; those of the socket.
    pub fn flush(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        lock(&self.sending).flush(socket, &mut || self.next_sending_key())
    }

    /// Whether something waits for [`flush`](Self::flush).
    pub fn has_unsent(&self) -> bool {
        lock(&self.sending).has_unsent()
    }

    /// How many bytes of data [`send`](Self::send) has taken whose records are still in this
    /// process.
    pub fn unsent(&self) -> u64 {
        lock(&self.sending).unsent()
    }

    /// Receives into `out`. 0 means that the peer has said that it sends no more (`close_notify`),
    /// or that `out` is empty. Other records are handled inside.
    ///
    /// # Errors
    /// `WouldBlock` if nothing has come. `UnexpectedEof` if the stream was cut: it ended without
    /// `close_notify`. `InvalidData` if the peer broke the protocol, `ConnectionAborted` if it sent
    /// an alert; those of the socket. All but `WouldBlock` are final.
    pub fn receive(&self, socket: BorrowedFd<'_>, out: &mut [u8]) -> io::Result<usize> {
        let mut receiving = lock(&self.receiving);
        receiving.receive(socket, out, &mut |event| self.handle(event, socket))
    }

    /// Handles the next record if it is not data. In kernel mode splice(2) and read(2) fail at such
    /// a record, or return 0. In user mode there is never one: [`receive`](Self::receive) handles
    /// all.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive).
    pub fn control(&self, _socket: BorrowedFd<'_>) -> io::Result<Control> {
        Ok(Control::Nothing)
    }

    /// Says that nothing more is sent (`close_notify`), and flushes. The peer can go on sending.
    /// When it has succeeded, shut the socket's sending side down.
    ///
    /// # Errors
    /// `WouldBlock` if the socket is full: call it again. Those of the socket.
    pub fn close(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut sending = lock(&self.sending);
        sending.close();
        sending.flush(socket, &mut || self.next_sending_key())
    }

    /// How many system calls this session has made.
    pub fn syscalls(&self) -> u64 {
        lock(&self.sending).calls() + lock(&self.receiving).calls()
    }

    /// Does what an event of the peer asks for. A KeyUpdate gives the peer's next key.
    fn handle(
        &self,
        event: Result<Event, Violation>,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Option<ConnectionTrafficSecrets>> {
        match event {
            Ok(Event::CloseNotify) => Ok(None),
            Ok(Event::KeyUpdate { answer }) => {
                let next = lock(&self.secrets).next_receiving()?;
                if answer {
                    lock(&self.sending).owe_key_update();
                    self.try_flush(socket);
                }
                Ok(Some(next))
            }
            Ok(Event::Ticket(ticket)) => {
                lock(&self.secrets).keep_ticket(&ticket);
                Ok(None)
            }
            Ok(Event::Renegotiation) => {
                lock(&self.sending).refuse_renegotiation();
                self.try_flush(socket);
                Ok(None)
            }
            Ok(Event::FatalAlert(alert)) => {
                lock(&self.sending).fail();
                Err(LayerError::Alert(alert_name(alert)).into())
            }
            Err(violation) => {
                lock(&self.sending).end_by_alert(violation.alert.into());
                self.try_flush(socket);
                Err(LayerError::Broken(violation.what).into())
            }
        }
    }

    /// Sends what can be sent now; the rest waits for the next flush, which has the error, too.
    fn try_flush(&self, socket: BorrowedFd<'_>) {
        let _ = self.flush(socket);
    }

    fn next_sending_key(&self) -> io::Result<ConnectionTrafficSecrets> {
        lock(&self.secrets).next_sending()
    }
}

impl Secrets {
    fn next_sending(&mut self) -> io::Result<ConnectionTrafficSecrets> {
        let next = match self {
            Self::Server(connection) => connection.update_tx_secret(),
            Self::Client(connection) => connection.update_tx_secret(),
        };
        Ok(next.map_err(HandshakeError::from)?.1)
    }

    fn next_receiving(&mut self) -> io::Result<ConnectionTrafficSecrets> {
        let next = match self {
            Self::Server(connection) => connection.update_rx_secret(),
            Self::Client(connection) => connection.update_rx_secret(),
        };
        Ok(next.map_err(HandshakeError::from)?.1)
    }

    /// A ticket that cannot be used costs a resumption, and nothing else.
    fn keep_ticket(&mut self, ticket: &[u8]) {
        if let Self::Client(connection) = self {
            let _ = connection.handle_new_session_ticket(ticket);
        }
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("info", &self.info)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
