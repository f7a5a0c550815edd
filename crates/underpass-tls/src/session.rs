//! An established connection: what its handshake agreed on, and its records.

use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{ConnectionTrafficSecrets, ExtractedSecrets};

use underpass::{Control, LayerError};

use crate::error::{HandshakeError, alert_name};
use crate::info::{Mode, TlsInfo, UserReason};
use crate::kernel::support;
use crate::record::KeyMaterial;

mod control;
#[cfg(fuzzing)]
pub(crate) mod fuzzing;
mod kernel_receiver;
mod kernel_sender;
mod layer;
mod next;
mod receiving;
mod sending;
mod user_receiver;
mod user_sender;

use control::{ControlReader, Event, Violation};
use kernel_receiver::KernelReceiver;
use kernel_sender::KernelSender;
use receiving::{Receiver, Receiving};
use sending::{Sender, Sending};
use user_receiver::UserReceiver;
use user_sender::UserSender;

/// An established TLS connection, without its descriptor.
///
/// Every call is given the descriptor, and must always be given the same one. If that does not
/// block, no call does. It can be used by several threads; each direction has its lock.
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
        secrets: &ExtractedSecrets,
        connection: Secrets,
        ahead: Vec<u8>,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Self> {
        let is_client = matches!(connection, Secrets::Client(_));
        let control = ControlReader::new(info.version, is_client);
        let mut info = info;
        let (sender, receiver) = layers(&mut info, secrets, ahead, socket)?;
        Ok(Self {
            sending: Mutex::new(Sending::new(info.version, sender)),
            receiving: Mutex::new(Receiving::new(receiver, control)),
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

    /// How many bytes of data [`send`](Self::send) has taken whose records have not left this
    /// process. After an error they never will.
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

    /// Whether data is next, which [`receive`](Self::receive) then has. False at the end of the
    /// stream, of which it then says 0. Other records are handled inside.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive).
    pub fn has_data(&self, socket: BorrowedFd<'_>) -> io::Result<bool> {
        let mut receiving = lock(&self.receiving);
        receiving.has_data(socket, &mut |event| self.handle(event, socket))
    }

    /// Handles the next record if it is not data. In kernel mode splice(2) and read(2) fail at such
    /// a record, or return 0. In user mode there is never one: [`receive`](Self::receive) handles
    /// all.
    ///
    /// # Errors
    /// Those of [`receive`](Self::receive).
    pub fn control(&self, socket: BorrowedFd<'_>) -> io::Result<Control> {
        let mut receiving = lock(&self.receiving);
        receiving.control(socket, &mut |event| self.handle(event, socket))
    }

    /// To be told in kernel mode what was sent on the socket itself, by sendfile(2) or splice(2):
    /// `count` bytes, or 0 if the call would have blocked. It counts records, so that the key is
    /// replaced in time, and sees to it that a full socket becomes writable again.
    ///
    /// # Errors
    /// Those of the socket; [`LayerError::Broken`] if the key is worn out and cannot be replaced.
    /// The connection has ended then.
    pub fn sent(&self, socket: BorrowedFd<'_>, count: u64) -> io::Result<()> {
        lock(&self.sending).sent(socket, count, &mut || self.next_sending_key())
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

    /// How many bytes of data this process has encrypted, each pass over a byte counted. 0 in
    /// kernel mode.
    pub fn encrypted(&self) -> u64 {
        lock(&self.sending).encrypted()
    }

    /// Does what an event of the peer asks for. For a KeyUpdate it returns the peer's next key.
    fn handle(
        &self,
        event: Result<Event, Violation>,
        socket: BorrowedFd<'_>,
    ) -> io::Result<Option<ConnectionTrafficSecrets>> {
        match event {
            Ok(Event::CloseNotify) => Ok(None),
            Ok(Event::KeyUpdate { .. }) if !self.can_follow() => Err(self.strand(socket)),
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

    /// Whether the peer's key can be replaced: by this process always, by the kernel since 6.14.
    fn can_follow(&self) -> bool {
        self.info.mode != Mode::Kernel || support().rekeys
    }

    /// Ends a connection whose peer changed its key in a way that the kernel cannot follow
    /// (pitfall 40): after another read it would not even send. So it says that it ends, shuts its
    /// sending side down, and reads no more.
    fn strand(&self, socket: BorrowedFd<'_>) -> io::Error {
        if self.close(socket).is_ok() {
            // If it fails, the connection is over in any case.
            let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
        }
        let told = "the peer changed its key, which this kernel cannot follow (Linux 6.14 can)";
        LayerError::Broken(told).into()
    }

    /// Sends what can be sent now. The rest waits for the next flush, which also returns the error.
    fn try_flush(&self, socket: BorrowedFd<'_>) {
        let _ = self.flush(socket);
    }

    fn next_sending_key(&self) -> io::Result<ConnectionTrafficSecrets> {
        lock(&self.secrets).next_sending()
    }
}

/// Gives the keys to the kernel if it is to seal the records. Otherwise this process keeps them.
fn layers(
    info: &mut TlsInfo,
    secrets: &ExtractedSecrets,
    ahead: Vec<u8>,
    socket: BorrowedFd<'_>,
) -> io::Result<(Sender, Receiver)> {
    let version = info.version;
    let (tx, rx) = (&secrets.tx, &secrets.rx);
    if info.mode == Mode::Kernel {
        let material = |secrets| KeyMaterial::of(secrets).ok_or(Errno::INVAL);
        match KernelSender::new(socket, version, tx.0, &material(&tx.1)?) {
            Ok(sender) => {
                // From here on there is no way back.
                let receiver = KernelReceiver::new(socket, version, rx.0, &material(&rx.1)?)
                    .map_err(one_way)?;
                return Ok((Sender::Kernel(sender), Receiver::Kernel(receiver)));
            }
            // The socket has not changed, and nothing was read ahead: this process can seal them.
            Err(errno) => {
                info.mode = Mode::User(UserReason::NoKernelCipher(errno.raw_os_error()));
            }
        }
    }
    let sender = UserSender::new(version, tx.0, &tx.1)?;
    let receiver = UserReceiver::new(version, rx.0, &rx.1, ahead)?;
    Ok((
        Sender::User(Box::new(sender)),
        Receiver::User(Box::new(receiver)),
    ))
}

/// The error if the kernel took the sending key and refused the receiving one. Only a security
/// policy does that.
fn one_way(errno: Errno) -> io::Error {
    let error = io::Error::from(errno);
    let told = format!("TLS_RX was refused after TLS_TX ({error}): see --no-ktls");
    io::Error::new(error.kind(), told)
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

    /// Keeps a ticket for a later connection. If it cannot be used, that connection is not resumed.
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
