//! TLS over TCP for tokio.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
#[cfg(feature = "http")]
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use underpass::{LayerError, close_lingering_async};

use crate::client::ClientConfig;
use crate::error::HandshakeError;
use crate::handshake::{Handshake, Progress};
use crate::info::TlsInfo;
use crate::server::ServerConfig;
use crate::session::Session;

/// A TLS connection over TCP.
///
/// Reading gives `UnexpectedEof` if the stream was cut. Shutting down sends `close_notify` and
/// shuts the socket's sending side; the other direction stays open.
///
/// A peer that breaks the rules of TLS is sent an alert. Then reading and writing wait until it has
/// closed the connection, for two seconds at most, before they fail: closing the socket at once
/// could reset the connection, and a reset can overtake the alert.
pub struct TlsStream {
    socket: TcpStream,
    session: Session,
    cut_is_end: bool,
    /// Whom a proxy has named.
    #[cfg(feature = "http")]
    client: Option<SocketAddr>,
    farewell: Farewell,
}

/// What is left of a connection whose peer broke the rules.
enum Farewell {
    /// The peer has not broken the rules.
    None,
    /// The peer is sent an alert, and has some time to read it.
    Begun(Pin<Box<dyn Future<Output = ()> + Send + Sync>>),
    /// The peer has had that time, or has closed the connection.
    Over,
}

/// Shakes hands with clients.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use underpass_tls::{Acceptor, Identity, ServerConfig};
///
/// let identity = Identity::from_pem_files("cert.pem", "key.pem")?;
/// let acceptor = Acceptor::new(ServerConfig::new([identity])?);
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
/// let (socket, _) = listener.accept().await?;
/// let mut stream = acceptor.accept(socket).await?;
/// println!("{}", stream.info());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Acceptor {
    config: ServerConfig,
}

/// Shakes hands with servers.
///
/// ```no_run
/// # async fn example() -> std::io::Result<()> {
/// use underpass_tls::{ClientConfig, Connector};
///
/// let connector = Connector::new(ClientConfig::ca_file("ca.pem")?);
/// let socket = tokio::net::TcpStream::connect("localhost:8443").await?;
/// let mut stream = connector.connect("localhost", socket).await?;
/// println!("{}", stream.info());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Connector {
    config: ClientConfig,
}

impl Acceptor {
    /// An acceptor with this configuration.
    pub fn new(config: ServerConfig) -> Self {
        Self { config }
    }

    /// Shakes hands on a connection that was just accepted.
    ///
    /// # Errors
    /// Those of the socket, and [`HandshakeError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn accept(&self, socket: TcpStream) -> io::Result<TlsStream> {
        let mut handshake = Handshake::server(&self.config, socket.as_fd())?;
        TlsStream::shake_hands(&mut handshake, socket).await
    }
}

impl Connector {
    /// A connector with this configuration.
    pub fn new(config: ClientConfig) -> Self {
        Self { config }
    }

    /// Shakes hands with `server`, a host name or an IP address, which its certificate must be for.
    ///
    /// # Errors
    /// Those of the socket, `InvalidInput` if `server` is neither, and
    /// [`HandshakeError`].
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn connect(&self, server: &str, socket: TcpStream) -> io::Result<TlsStream> {
        let mut handshake = Handshake::client(&self.config, server, socket.as_fd())?;
        TlsStream::shake_hands(&mut handshake, socket).await
    }
}

impl TlsStream {
    pub(crate) fn new(socket: TcpStream, session: Session) -> Self {
        Self {
            socket,
            session,
            cut_is_end: false,
            #[cfg(feature = "http")]
            client: None,
            farewell: Farewell::None,
        }
    }

    /// Reading takes a stream that was cut for one that ended: for protocols that say themselves
    /// where their messages end.
    #[cfg(feature = "http")]
    pub(crate) fn cut_is_end(mut self) -> Self {
        self.cut_is_end = true;
        self
    }

    /// A proxy has said that this is whose connection it is.
    #[cfg(feature = "http")]
    pub(crate) fn of_client(mut self, client: Option<SocketAddr>) -> Self {
        self.client = client;
        self
    }

    #[cfg(feature = "http")]
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.client
    }

    /// If it fails, the peer has up to two seconds to hear why: closing the socket at once could
    /// reset the connection, and a reset can overtake the alert.
    async fn shake_hands(handshake: &mut Handshake, socket: TcpStream) -> io::Result<Self> {
        match Self::establish(handshake, &socket).await {
            Ok(session) => Ok(Self::new(socket, session)),
            Err(error) => {
                if HandshakeError::of(&error).is_some() {
                    close_lingering_async(None, &socket).await;
                }
                Err(error)
            }
        }
    }

    pub(crate) async fn establish(
        handshake: &mut Handshake,
        socket: &TcpStream,
    ) -> io::Result<Session> {
        let mut progress = handshake.step(socket.as_fd());
        loop {
            let (interest, is_same): (_, fn(&_) -> bool) = match progress? {
                Progress::WantRead => (Interest::READABLE, |it| matches!(it, Progress::WantRead)),
                Progress::WantWrite => (Interest::WRITABLE, |it| matches!(it, Progress::WantWrite)),
                Progress::Done(session) => return Ok(session),
            };
            socket.ready(interest).await?;
            // tokio must know when the descriptor is not ready for this interest any more, so that
            // it waits for the next event. If the step has to wait for the other one, this one may
            // still be ready: then no event would come for it.
            progress = socket.try_io(interest, || match handshake.step(socket.as_fd())? {
                next if is_same(&next) => Err(io::ErrorKind::WouldBlock.into()),
                next => Ok(next),
            });
            if matches!(&progress, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
                progress = Ok(match interest {
                    Interest::READABLE => Progress::WantRead,
                    _ => Progress::WantWrite,
                });
            }
        }
    }

    /// What the handshake agreed on, and who seals the records.
    pub fn info(&self) -> &TlsInfo {
        self.session.info()
    }

    /// The session, to be used with this descriptor.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Waits until there is data to read, and leaves it there. False if the stream has ended.
    ///
    /// # Errors
    /// Those of reading.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn has_data(&mut self) -> io::Result<bool> {
        poll_fn(|cx| self.poll_read_with(cx, Session::has_data)).await
    }

    /// The socket. Reading or writing it directly breaks the connection.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// The parts.
    pub fn into_parts(self) -> (TcpStream, Session) {
        (self.socket, self.session)
    }

    /// Sends some of `slices`; see [`Session::send_checked`].
    pub(crate) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<usize>> {
        self.poll_writable(cx, |session, socket| {
            session.send_checked(socket, slices, more, check)
        })
    }

    /// Makes a call when the socket is writable, again as long as it would block.
    pub(crate) fn poll_writable<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(&Session, BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        ready!(self.poll_farewell(cx));
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            let call = || call(&self.session, self.socket.as_fd());
            match self.socket.try_io(Interest::WRITABLE, call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, out: &mut [u8]) -> Poll<io::Result<usize>> {
        self.poll_read_with(cx, |session, socket| session.receive(socket, out))
    }

    /// Makes a call that reads when the socket is readable, again as long as it would block.
    fn poll_read_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut call: impl FnMut(&Session, BorrowedFd<'_>) -> io::Result<T>,
    ) -> Poll<io::Result<T>> {
        // A caller that reads the answer may have forgotten to flush the question.
        if self.session.has_unsent()
            && let Poll::Ready(Err(error)) = self.poll_writable(cx, Session::flush)
        {
            return Poll::Ready(Err(error));
        }
        loop {
            ready!(self.poll_farewell(cx));
            ready!(self.socket.poll_read_ready(cx))?;
            let call = || call(&self.session, self.socket.as_fd());
            match self.socket.try_io(Interest::READABLE, call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The session gives its error again, when the peer has had time to hear it.
                Err(error) if self.begins_farewell(&error) => {}
                result => return Poll::Ready(result),
            }
        }
    }

    /// Begins to wait until the peer has read the alert, if `error` says that it broke the rules.
    /// Returns whether this began now.
    fn begins_farewell(&mut self, error: &io::Error) -> bool {
        let is_refused = matches!(LayerError::of(error), Some(LayerError::Broken(_)));
        if !is_refused || !matches!(self.farewell, Farewell::None) {
            return false;
        }
        // If there is no descriptor for it, the peer may miss the alert.
        let Ok(socket) = self.socket.as_fd().try_clone_to_owned() else {
            return false;
        };
        self.farewell = Farewell::Begun(Box::pin(close_lingering_async(None, socket)));
        true
    }

    /// Ready when the peer need not be waited for any more.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Farewell::Begun(farewell) = &mut self.farewell {
            ready!(farewell.as_mut().poll(cx));
            self.farewell = Farewell::Over;
        }
        Poll::Ready(())
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsStream")
            .field("socket", &self.socket)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}

/// For relays and fan-outs of the engine.
impl From<TlsStream> for underpass::StreamSocket {
    fn from(stream: TlsStream) -> Self {
        let (socket, session) = stream.into_parts();
        underpass::TlsSocket::new(socket, std::sync::Arc::new(session)).into()
    }
}

impl AsFd for TlsStream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(self.poll_receive(cx, buffer.initialize_unfilled())) {
            Ok(count) => buffer.advance(count),
            Err(error) if self.cut_is_end && error.kind() == io::ErrorKind::UnexpectedEof => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(bytes)], false, &mut || Ok(()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, slices, false, &mut || Ok(()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.session.has_unsent() {
            return Poll::Ready(Ok(()));
        }
        self.poll_writable(cx, Session::flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_writable(cx, Session::close))?;
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
