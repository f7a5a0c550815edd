//! The handshake, step by step, on a descriptor that does not block.

use std::fmt;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::ServerName;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, UnbufferedStatus};
use rustls::{CommonState, HandshakeKind, ProtocolVersion, SupportedCipherSuite};

use crate::client::ClientConfig;
use crate::error::{FailureReason, HandshakeError};
use crate::info::{Mode, TlsInfo, UserReason};
use crate::kernel::support;
use crate::record::{HEADER_LEN, Header};
use crate::server::{ServerConfig, server_name};
use crate::session::{Secrets, Session};
use crate::sys;
use underpass::{TlsCipher, TlsVersion};

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
    /// What was read. rustls sees the first `shown` bytes.
    incoming: Vec<u8>,
    shown: usize,
    /// What rustls wants to send, from `sent` on.
    outgoing: Vec<u8>,
    sent: usize,
    server_name: Option<String>,
}

/// What a step of a handshake led to.
#[derive(Debug)]
// There is one of them a connection, and it is moved once.
#[allow(clippy::large_enum_variant)]
pub enum Progress {
    /// Wait until the descriptor is readable.
    WantRead,
    /// Wait until the descriptor is writable.
    WantWrite,
    /// The handshake is complete.
    Done(Session),
}

enum Connection {
    Server(UnbufferedServerConnection),
    Client(UnbufferedClientConnection),
}

/// What rustls needs next.
enum Next {
    /// Look again.
    Again,
    /// Another record.
    Record,
    /// That what it has made is sent.
    Flush,
    /// Nothing: the handshake is complete.
    Complete,
}

/// More than any handshake needs before rustls takes some of it.
const MAX_INCOMING: usize = 128 << 10;

/// How much is read at once where records need not be read exactly.
const READ_AHEAD: usize = 4 << 10;

impl Handshake {
    /// Of a server, on a connection that was just accepted.
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

    /// Of a client, on a connection to `server`, a host name or an IP address, which the server's
    /// certificate must be for.
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
            incoming: Vec::new(),
            shown: 0,
            outgoing: Vec::new(),
            sent: 0,
            server_name: None,
        }
    }

    /// Who is to seal the records, as far as that is known: whether the cipher can be the kernel's
    /// shows when it is chosen.
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
            match self.process() {
                Ok(Next::Again) => {}
                Ok(Next::Record) => match self.read_record(socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Progress::WantRead);
                    }
                    read => read?,
                },
                Ok(Next::Flush) => match self.flush(socket) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Progress::WantWrite);
                    }
                    flushed => flushed?,
                },
                Ok(Next::Complete) => return self.complete(socket).map(Progress::Done),
                Err(error) => {
                    // The alert is in what rustls has left to encode. Asked for more than that, it
                    // would look again at the bytes that it has refused.
                    while self.wants_encoding() && matches!(self.process(), Ok(Next::Again)) {}
                    let _ = self.flush(socket);
                    return Err(error.into());
                }
            }
        }
    }

    /// Lets rustls go on, with what it is shown.
    fn process(&mut self) -> Result<Next, HandshakeError> {
        let shown = &mut self.incoming[..self.shown];
        let is_flushed = self.sent == self.outgoing.len();
        let (discard, next) = match &mut self.connection {
            Some(Connection::Server(connection)) => {
                let status = connection.process_tls_records(shown);
                handle(status, &mut self.outgoing, is_flushed)
            }
            Some(Connection::Client(connection)) => {
                let status = connection.process_tls_records(shown);
                handle(status, &mut self.outgoing, is_flushed)
            }
            None => (0, Err(rustls::Error::HandshakeNotComplete.into())),
        };
        self.incoming.drain(..discard);
        self.shown -= discard;
        if let Some(name) = server_name::take() {
            self.server_name = Some(name);
        }
        match next {
            Ok(Next::Complete) if self.is_handshaking() => Ok(Next::Record),
            next => next,
        }
    }

    /// Whether rustls has made records that are not in `outgoing` yet.
    fn wants_encoding(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_some_and(|connection| connection.state().wants_write())
    }

    fn is_handshaking(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.state().is_handshaking())
    }

    fn flush(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        while self.sent < self.outgoing.len() {
            let left = &self.outgoing[self.sent..];
            match rustix::net::send(socket, left, SendFlags::NOSIGNAL) {
                Ok(count) => self.sent += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        self.outgoing.clear();
        self.sent = 0;
        Ok(())
    }

    /// Shows rustls one more record, and reads it first if need be. Exactly one, so that nothing
    /// that comes after the handshake is decrypted here.
    fn read_record(&mut self, socket: BorrowedFd<'_>) -> io::Result<()> {
        loop {
            self.check_beginning()?;
            let unseen = &self.incoming[self.shown..];
            let wanted = match Header::of(unseen) {
                Some(header) if unseen.len() >= header.record_len() => {
                    self.shown += header.record_len();
                    return Ok(());
                }
                Some(header) => header.record_len(),
                None => HEADER_LEN,
            };
            if self.incoming.len() > MAX_INCOMING {
                return Err(HandshakeError::told(
                    FailureReason::Protocol,
                    "the peer's handshake is too long",
                ));
            }
            let missing = wanted - unseen.len();
            self.read(socket, missing)?;
        }
    }

    /// Refuses what is not TLS, as soon as that can be seen.
    fn check_beginning(&self) -> io::Result<()> {
        let Some(start) = self.incoming[self.shown..].first_chunk::<HEADER_LEN>() else {
            return Ok(());
        };
        if matches!(start[0], 20..=23) && start[1] == 3 {
            return Ok(());
        }
        Err(if is_http_method(start) {
            HandshakeError::told(
                FailureReason::PlainHttp,
                "the peer speaks plain HTTP, not TLS",
            )
        } else {
            HandshakeError::told(FailureReason::NotTls, "what the peer sent is not TLS")
        })
    }

    /// Reads once: `missing` bytes, or more if the kernel does not have to start at a record's
    /// beginning.
    fn read(&mut self, socket: BorrowedFd<'_>, missing: usize) -> io::Result<()> {
        let wanted = match self.mode {
            Mode::Kernel => missing,
            Mode::User(_) => missing.max(READ_AHEAD),
        };
        let len = self.incoming.len();
        self.incoming.resize(len + wanted, 0);
        let read = loop {
            match rustix::net::recv(socket, &mut self.incoming[len..], RecvFlags::empty()) {
                Err(Errno::INTR) => {}
                read => break read,
            }
        };
        let count = read.as_ref().map_or(0, |(count, _)| *count);
        self.incoming.truncate(len + count);
        match read {
            Ok((0, _)) => Err(HandshakeError::told(
                FailureReason::Closed,
                "the peer closed the connection before it was complete",
            )),
            Ok(_) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes the secrets.
    fn complete(&mut self, socket: BorrowedFd<'_>) -> io::Result<Session> {
        if self.shown > 0 {
            return Err(HandshakeError::told(
                FailureReason::Protocol,
                "the peer sent something behind the end of the handshake, in the same record",
            ));
        }
        let connection = self.connection.take().ok_or(io::ErrorKind::InvalidInput)?;
        let info = self.info(connection.state())?;
        let (secrets, connection) = match connection {
            Connection::Server(connection) => {
                let taken = connection.dangerous_into_kernel_connection();
                let (secrets, connection) = taken.map_err(HandshakeError::from)?;
                (secrets, Secrets::Server(connection))
            }
            Connection::Client(connection) => {
                let taken = connection.dangerous_into_kernel_connection();
                let (secrets, connection) = taken.map_err(HandshakeError::from)?;
                (secrets, Secrets::Client(connection))
            }
        };
        let ahead = std::mem::take(&mut self.incoming);
        Session::new(info, &secrets, connection, ahead, socket)
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
            .field("is_handshaking", &self.is_handshaking())
            .finish_non_exhaustive()
    }
}

impl Connection {
    fn state(&self) -> &CommonState {
        match self {
            Self::Server(connection) => connection,
            Self::Client(connection) => connection,
        }
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

/// Whether the kernel can seal such records, if it is to.
fn support_of(mode: Mode, version: TlsVersion, cipher: TlsCipher) -> Result<(), i32> {
    match mode {
        Mode::Kernel => support().cipher(version, cipher),
        Mode::User(_) => Ok(()),
    }
}

/// What rustls wants, and how many of the bytes that it was shown it is done with. What it has to
/// send is put into `outgoing`.
fn handle<Data>(
    status: UnbufferedStatus<'_, '_, Data>,
    outgoing: &mut Vec<u8>,
    is_flushed: bool,
) -> (usize, Result<Next, HandshakeError>) {
    let UnbufferedStatus { discard, state } = status;
    let next = match state {
        Err(error) => Err(error.into()),
        Ok(ConnectionState::EncodeTlsData(mut encoder)) => {
            // Asked with no room, it says how much it needs.
            if let Err(EncodeError::InsufficientSize(needed)) = encoder.encode(&mut []) {
                let len = outgoing.len();
                outgoing.resize(len + needed.required_size, 0);
                let written = encoder.encode(&mut outgoing[len..]);
                outgoing.truncate(len + written.unwrap_or(0));
            }
            Ok(Next::Again)
        }
        Ok(ConnectionState::TransmitTlsData(_)) if !is_flushed => Ok(Next::Flush),
        Ok(ConnectionState::TransmitTlsData(transmit)) => {
            transmit.done();
            Ok(Next::Again)
        }
        Ok(ConnectionState::BlockedHandshake) => Ok(Next::Record),
        Ok(ConnectionState::WriteTraffic(_)) => Ok(Next::Complete),
        Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Err(HandshakeError::new(
            FailureReason::Closed,
            "the peer closed the connection before it was complete",
        )),
        Ok(_) => Err(HandshakeError::new(
            FailureReason::Protocol,
            "the peer sent data before it was complete",
        )),
    };
    (discard, next)
}

/// Whether `start` can be the beginning of an HTTP request: a method, and perhaps a space.
fn is_http_method(start: &[u8]) -> bool {
    let method = start.split(|byte| *byte == b' ').next();
    method.is_some_and(|it| it.len() >= 3 && it.iter().all(u8::is_ascii_uppercase))
}

fn cipher_of(suite: SupportedCipherSuite) -> Option<TlsCipher> {
    use rustls::CipherSuite as Suite;
    match suite.suite() {
        Suite::TLS13_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(TlsCipher::Aes128Gcm),
        Suite::TLS13_AES_256_GCM_SHA384
        | Suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | Suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(TlsCipher::Aes256Gcm),
        Suite::TLS13_CHACHA20_POLY1305_SHA256
        | Suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        | Suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => Some(TlsCipher::ChaCha20Poly1305),
        _ => None,
    }
}
