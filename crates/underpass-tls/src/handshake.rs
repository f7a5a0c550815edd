//! The handshake, step by step, on a descriptor that does not block.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::SendFlags;
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::{CommonState, HandshakeKind, ProtocolVersion};

use crate::client::ClientConfig;
use crate::error::{FailureReason, HandshakeError};
use crate::info::{Mode, TlsInfo, UserReason};
use crate::kernel::support;
use crate::server::{ServerConfig, server_name};
use crate::session::Session;
use crate::socket_calls;
use crate::sys;
use underpass::{TlsCipher, TlsVersion};

mod connection;
mod incoming;

use connection::{Connection, Next, cipher_of};
use incoming::Incoming;

/// A handshake in progress.
///
/// Call [`step`](Self::step) until it is done; between two steps, wait as it says. Nothing limits
/// its time but the caller.
///
/// ```no_run
/// use std::net::TcpListener;
/// use std::os::fd::AsFd as _;
/// use underpass_tls::{Handshake, Identity, Progress, ServerConfig};
///
/// let config = ServerConfig::new([Identity::self_signed(["localhost"])?])?;
/// let (socket, _) = TcpListener::bind("127.0.0.1:8443")?.accept()?;
/// let mut handshake = Handshake::server(&config, socket.as_fd())?;
/// let session = loop {
///     // The socket blocks, so the steps do the waiting.
///     match handshake.step(socket.as_fd())? {
///         Progress::Done(session) => break session,
///         Progress::WantRead | Progress::WantWrite => {}
///     }
/// };
/// println!("{}", session.info());
/// # Ok::<(), std::io::Error>(())
/// ```
pub struct Handshake {
    /// `None` when it is complete.
    connection: Option<Connection>,
    mode: Mode,
    incoming: Incoming,
    /// What rustls wants to send, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    server_name: Option<String>,
}

/// What a step of a handshake led to.
#[derive(Debug)]
// Each connection has one of these, and it is moved once: a box would gain nothing.
#[allow(clippy::large_enum_variant)]
pub enum Progress {
    /// Wait until the descriptor is readable.
    WantRead,
    /// Wait until the descriptor is writable.
    WantWrite,
    /// The handshake is complete.
    Done(Session),
}

impl Handshake {
    /// Begins the handshake of a server, on a connection that was just accepted.
    ///
    /// # Errors
    /// None is known.
    pub fn server(config: &ServerConfig, socket: BorrowedFd<'_>) -> io::Result<Self> {
        let connection = UnbufferedServerConnection::new(config.rustls());
        let connection = connection.map_err(HandshakeError::from)?;
        Ok(Self::new(
            Connection::Server(connection),
            prepare(socket, config.ktls),
        ))
    }

    /// Begins the handshake of a client. `server` is the host name or the IP address that the
    /// server's certificate must be for.
    ///
    /// # Errors
    /// `InvalidInput` if `server` is neither.
    pub fn client(config: &ClientConfig, server: &str, socket: BorrowedFd<'_>) -> io::Result<Self> {
        let name = ServerName::try_from(server.to_owned()).map_err(|_| {
            let told = format!("{server:?} is neither a host name nor an IP address");
            io::Error::new(io::ErrorKind::InvalidInput, told)
        })?;
        let connection = UnbufferedClientConnection::new(Arc::clone(&config.rustls), name);
        let connection = connection.map_err(HandshakeError::from)?;
        let mut this = Self::new(Connection::Client(connection), prepare(socket, config.ktls));
        this.server_name = Some(server.to_owned());
        Ok(this)
    }

    fn new(connection: Connection, mode: Mode) -> Self {
        Self {
            connection: Some(connection),
            mode,
            incoming: Incoming::default(),
            outgoing: Vec::new(),
            sent: 0,
            server_name: None,
        }
    }

    /// Who will seal the records, as far as that is known. Whether the kernel has the cipher is
    /// known only when the handshake has chosen one.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Goes on as far as the descriptor allows. After `Done` there is nothing more to call.
    ///
    /// # Errors
    /// Those of the socket, and [`HandshakeError`]. The peer has been sent the alert that belongs
    /// to it, as far as the socket took it.
    pub fn step(&mut self, socket: BorrowedFd<'_>) -> io::Result<Progress> {
        loop {
            let (done, progress) = match self.process() {
                Ok(Next::Again) => continue,
                Ok(Next::Record) => (self.show_next(socket), Progress::WantRead),
                Ok(Next::Flush) => (self.flush(socket), Progress::WantWrite),
                Ok(Next::Complete) if !self.incoming.is_shown() => {
                    return self.complete(socket).map(Progress::Done);
                }
                Ok(Next::Complete) => (Err(behind_the_end()), Progress::WantRead),
                Err(error) => (Err(error.into()), Progress::WantRead),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(progress),
                Err(error) => {
                    self.make_alert(&error);
                    // Whether the alert could be sent or not, the handshake failed by `error`.
                    let _ = self.flush(socket);
                    return Err(error);
                }
            }
        }
    }

    /// Lets rustls process the records that were read.
    fn process(&mut self) -> Result<Next, HandshakeError> {
        let is_flushed = self.sent == self.outgoing.len();
        let Some(connection) = &mut self.connection else {
            return Err(rustls::Error::HandshakeNotComplete.into());
        };
        let shown = self.incoming.shown();
        let (discard, next) = connection.process(shown, &mut self.outgoing, is_flushed);
        self.incoming.discard(discard);
        if let Some(name) = server_name::take() {
            self.server_name = Some(name);
        }
        next
    }

    /// Appends the alert that belongs to `error` to what is to be sent. rustls makes it, because
    /// only rustls has the keys. For some errors of the peer it makes none. Then it is shown an
    /// invalid record, for which it always makes one (decode_error).
    fn make_alert(&mut self, error: &io::Error) {
        if !self.wants_encoding() && FailureReason::of(error) == FailureReason::Protocol {
            self.incoming.spoil();
            let _ = self.process();
        }
        // After the alert rustls must not be called again: it would process the bytes that it has
        // refused once more.
        while self.wants_encoding() && matches!(self.process(), Ok(Next::Again)) {}
    }

    /// Whether rustls has made records that are not in `outgoing` yet.
    fn wants_encoding(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.state().wants_write())
    }

    fn show_next(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        // The kernel has to start at a record's beginning.
        let exact = self.mode == Mode::Kernel;
        self.incoming.show_next(socket, exact)
    }

    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            let left = &self.outgoing[self.sent..];
            match socket_calls::send(socket, left, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Takes the secrets from rustls, and makes the session from them.
    fn complete(&mut self, socket: BorrowedFd<'_>) -> io::Result<Session> {
        let connection = self.connection.take().ok_or(io::ErrorKind::InvalidInput)?;
        let info = self.info(connection.state())?;
        let (secrets, connection) = connection.into_secrets()?;
        Session::new(info, &secrets, connection, self.incoming.take(), socket)
    }

    fn info(&mut self, state: &CommonState) -> io::Result<TlsInfo> {
        let version = match state.protocol_version() {
            Some(ProtocolVersion::TLSv1_3) => TlsVersion::Tls13,
            _ => TlsVersion::Tls12,
        };
        let cipher = state.negotiated_cipher_suite().and_then(cipher_of);
        let cipher = cipher.ok_or_else(|| {
            HandshakeError::told(FailureReason::Internal, "the cipher is not known here")
        })?;
        let mode = match support_of(self.mode, version, cipher) {
            Ok(()) => self.mode,
            Err(errno) => Mode::User(UserReason::NoKernelCipher(errno)),
        };
        Ok(TlsInfo {
            mode,
            version,
            cipher,
            alpn: state.alpn_protocol().map(<[u8]>::to_vec),
            server_name: self.server_name.take(),
            resumed: state.handshake_kind() == Some(HandshakeKind::Resumed),
            peer_certificates: state.peer_certificates().unwrap_or_default().to_vec(),
        })
    }
}

impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake")
            .field("mode", &self.mode)
            .field("is_complete", &self.connection.is_none())
            .finish_non_exhaustive()
    }
}

/// Asks the kernel to seal records on this socket once it is given keys. This comes first: what the
/// kernel refuses now is done here, and later there would be no way back (pitfall 37).
fn prepare(socket: BorrowedFd<'_>, ktls: bool) -> Mode {
    if !ktls {
        return Mode::User(UserReason::Configured);
    }
    if let Err(errno) = support().ulp() {
        return Mode::User(UserReason::NoKernelTls(errno));
    }
    match sys::set_ulp(socket) {
        // If it was set by somebody else, there is no key, or setting ours fails.
        Ok(()) | Err(Errno::EXIST) => Mode::Kernel,
        Err(Errno::NOPROTOOPT | Errno::OPNOTSUPP) => Mode::User(UserReason::NotTcp),
        Err(errno) => Mode::User(UserReason::RefusedSocket(errno.raw_os_error())),
    }
}

fn behind_the_end() -> io::Error {
    HandshakeError::told(
        FailureReason::Protocol,
        "the peer sent something behind the end of the handshake, in the same record",
    )
}

/// Whether the kernel can seal such records, if it is to.
fn support_of(mode: Mode, version: TlsVersion, cipher: TlsCipher) -> Result<(), i32> {
    match mode {
        Mode::Kernel => support().cipher(version, cipher),
        Mode::User(_) => Ok(()),
    }
}
