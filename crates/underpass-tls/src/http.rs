//! HTTPS for `underpass_http::serve`.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Version;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use underpass::{Sent, avoid_local_pacing, sendfile_once};
use underpass_http::{HttpSocket, Listener, TlsConnection};

use crate::acme::ACME_TLS;
use crate::error::{FailureReason, HandshakeError};
use crate::handshake::Handshake;
use crate::identity::Fingerprint;
use crate::info::Mode;
use crate::server::ServerConfig;
use crate::session::Session;
use crate::stats::TlsStats;
use crate::stream::TlsStream;

mod pending;

use pending::PendingHandshakes;

/// Accepts TLS connections for [`underpass_http::serve`].
///
/// The handshake runs in the connection's task, within the time that a request's head may take
/// (`underpass_http::Timeouts`). Who speaks plain HTTP is told so by a plain 400.
///
/// ```no_run
/// # async fn example(app: underpass_http::ServeDir) -> std::io::Result<()> {
/// use underpass_tls::{Identity, ServerConfig, TlsListener};
///
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:8443").await?;
/// let config = ServerConfig::new([Identity::from_pem_files("cert.pem", "key.pem")?])?;
/// underpass_http::serve(TlsListener::new(listener, config), app).await
/// # }
/// ```
#[must_use = "a listener does nothing until it is served"]
pub struct TlsListener {
    listener: TcpListener,
    config: ServerConfig,
    stats: Arc<TlsStats>,
    pending: Arc<PendingHandshakes>,
    on_failure: Option<OnFailure>,
    trusts: Option<TrustsProxy>,
}

/// Says whether a proxy at this address is believed.
type TrustsProxy = Arc<dyn Fn(SocketAddr) -> bool + Send + Sync>;

/// Called when a handshake fails, with the address of the peer and the error.
type OnFailure = Arc<dyn Fn(SocketAddr, &io::Error) + Send + Sync>;

/// The most handshakes that are in progress at once, unless another number is set.
const HANDSHAKES: usize = 1024;

impl TlsListener {
    /// TLS on `listener`. If the configuration names no application protocols, `h2` (HTTP/2) and
    /// `http/1.1` are offered.
    pub fn new(listener: TcpListener, config: ServerConfig) -> Self {
        let config = if config.has_alpn() {
            config
        } else {
            config.alpn(["h2", "http/1.1"])
        };
        Self {
            listener,
            config,
            stats: Arc::default(),
            pending: PendingHandshakes::new(HANDSHAKES),
            on_failure: None,
            trusts: None,
        }
    }

    /// Uses these counters, which other listeners may share.
    pub fn stats(mut self, stats: Arc<TlsStats>) -> Self {
        self.stats = stats;
        self
    }

    /// The most handshakes that are in progress at once, at least one. When another begins, the
    /// oldest is broken off: a client that only holds its place does not keep others out, and one
    /// that shakes hands is done long before. Default: 1,024.
    pub fn max_handshakes(mut self, most: usize) -> Self {
        self.pending = PendingHandshakes::new(most);
        self
    }

    /// Every connection has to come from a proxy for which `trusts` is true, and to begin with a
    /// header of the PROXY protocol, before TLS. The client that it names is the connection's
    /// [`peer`](HttpSocket::peer). Other connections are closed, and count as failed handshakes.
    pub fn proxy_protocol(
        mut self,
        trusts: impl Fn(SocketAddr) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.trusts = Some(Arc::new(trusts));
        self
    }

    /// Calls `told` for every handshake that fails, in the connection's task.
    pub fn on_failure(
        mut self,
        told: impl Fn(SocketAddr, &io::Error) + Send + Sync + 'static,
    ) -> Self {
        self.on_failure = Some(Arc::new(told));
        self
    }
}

impl fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsListener")
            .field("listener", &self.listener)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Listener for TlsListener {
    type Socket = TlsStream;
    type Opening = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (mut socket, peer) = self.listener.accept().await?;
        let config = self.config.clone();
        let place = self.pending.enter();
        let trusts = self.trusts.clone();
        let mut outcome = Outcome {
            stats: Arc::clone(&self.stats),
            on_failure: self.on_failure.clone(),
            peer,
            is_noted: false,
        };
        Ok(Box::pin(async move {
            let mut client = None;
            let opened = place.hold(async {
                client = match client_of(&socket, peer, trusts.as_deref()).await {
                    Ok(client) => client,
                    Err(error) => {
                        let refused = Err(error);
                        outcome.note(&refused);
                        return refused;
                    }
                };
                let opened = establish(&socket, &config).await;
                outcome.note(&opened);
                if let Err(error) = &opened {
                    // If the client cannot be told, the handshake still failed by `error`.
                    let _ = refuse(&mut socket, error).await;
                }
                opened
            });
            let opened = opened.await;
            outcome.note(&opened);
            let stream = end_challenge(TlsStream::new(socket, opened?)).await?;
            // HTTP messages say where they end, and many clients close without close_notify.
            Ok(stream.cut_is_end().of_client(client))
        }))
    }
}

/// Counts the result of a handshake, also if its future is dropped before there is one.
struct Outcome {
    stats: Arc<TlsStats>,
    on_failure: Option<OnFailure>,
    peer: SocketAddr,
    is_noted: bool,
}

impl Outcome {
    fn note(&mut self, opened: &io::Result<Session>) {
        if std::mem::replace(&mut self.is_noted, true) {
            return;
        }
        match opened {
            Ok(session) => self.stats.note(Ok(session.info())),
            Err(error) => self.failed(error),
        }
    }

    fn failed(&self, error: &io::Error) {
        self.stats.note(Err(error));
        if let Some(told) = &self.on_failure {
            told(self.peer, error);
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if !self.is_noted {
            self.failed(&HandshakeError::told(
                FailureReason::TimedOut,
                "it took too long",
            ));
        }
    }
}

/// Ends a connection whose client only checked an ACME challenge; HTTP is not spoken on it.
async fn end_challenge(mut stream: TlsStream) -> io::Result<TlsStream> {
    if stream.info().alpn.as_deref() != Some(ACME_TLS) {
        return Ok(stream);
    }
    stream.shutdown().await?;
    let told = "an ACME server checked a challenge, and wants nothing else";
    Err(io::Error::new(io::ErrorKind::ConnectionAborted, told))
}

/// The client that the proxy at `peer` names, where connections come from proxies.
async fn client_of(
    socket: &TcpStream,
    peer: SocketAddr,
    trusts: Option<&(dyn Fn(SocketAddr) -> bool + Send + Sync)>,
) -> io::Result<Option<SocketAddr>> {
    match trusts {
        None => Ok(None),
        Some(trusts) if trusts(peer) => {
            let named = underpass::proxy_protocol::receive(socket).await?;
            Ok(named.map(|it| it.source))
        }
        Some(_) => {
            let told = "this peer is no proxy that is believed";
            Err(io::Error::new(io::ErrorKind::PermissionDenied, told))
        }
    }
}

async fn establish(socket: &TcpStream, config: &ServerConfig) -> io::Result<Session> {
    // Responses are written whole, so Nagle's algorithm would only delay them.
    socket.set_nodelay(true)?;
    // If this fails, the connection is slower, because the kernel paces it; it works all the same.
    let _ = avoid_local_pacing(socket);
    let mut handshake = Handshake::server(config, std::os::fd::AsFd::as_fd(socket))?;
    TlsStream::establish(&mut handshake, socket).await
}

/// Ends a connection whose handshake has failed, so that the client gets the last thing it was
/// sent: an alert, or the answer to plain HTTP, which is made here, before any secret exists.
async fn refuse(socket: &mut TcpStream, error: &io::Error) -> io::Result<()> {
    match HandshakeError::of(error).map(HandshakeError::reason) {
        None | Some(FailureReason::Closed) => return Ok(()),
        Some(FailureReason::PlainHttp) => socket.write_all(PLAIN_HTTP_REFUSED).await?,
        Some(_) => {}
    }
    socket.shutdown().await?;
    drain(socket).await
}

const PLAIN_HTTP_REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 49\r\n\
    connection: close\r\n\r\n\
    this port speaks HTTPS: ask for https:// instead\n";

/// The most that is read of a client before its connection is closed.
const UNREAD: usize = 64 << 10;

/// Reads to the end, or to a limit: closing a socket with unread bytes resets it, and what was sent
/// may be lost.
async fn drain(socket: &mut TcpStream) -> io::Result<()> {
    let mut bytes = [0; 4 << 10];
    let mut left = UNREAD;
    while left > 0 {
        let count = socket.read(&mut bytes).await?;
        if count == 0 {
            break;
        }
        left = left.saturating_sub(count);
    }
    Ok(())
}

impl HttpSocket for TlsStream {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        TlsStream::poll_send(self, cx, slices, more, &mut || Ok(()))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        if self.info().mode != Mode::Kernel {
            return Poll::Ready(Err(io::ErrorKind::Unsupported.into()));
        }
        self.poll_writable(cx, |session, socket| {
            let sent = sendfile_once(file, offset, socket, len)?;
            let count = match sent {
                Sent::Moved(count) => count,
                Sent::Ended | Sent::Blocked => 0,
            };
            if !matches!(sent, Sent::Ended) {
                session.sent(socket, count as u64)?;
            }
            match sent {
                Sent::Blocked => Err(io::ErrorKind::WouldBlock.into()),
                _ => Ok(count),
            }
        })
    }

    fn encrypts(&self) -> bool {
        self.info().mode != Mode::Kernel
    }

    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<usize>> {
        TlsStream::poll_send(self, cx, slices, false, check)
    }

    fn unsent(&self) -> u64 {
        self.session().unsent()
    }

    fn agreed_version(&self) -> Option<Version> {
        Some(match self.info().alpn.as_deref() {
            Some(b"h2") => Version::HTTP_2,
            _ => Version::HTTP_11,
        })
    }

    fn tls(&self) -> Option<TlsConnection> {
        let info = self.info();
        let mut tls = TlsConnection::new(info.tls());
        tls.resumed = info.resumed;
        tls.server_name.clone_from(&info.server_name);
        let client = info.peer_certificates.first();
        tls.client = client
            .and_then(|certificate| Fingerprint::of(certificate).ok())
            .map(|fingerprint| fingerprint.to_string());
        Some(tls)
    }

    fn set_cork(&mut self, cork: bool) {
        // If this fails, only the sizes of TCP segments differ.
        let _ = rustix::net::sockopt::set_tcp_cork(self.socket(), cork);
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.client().or_else(|| self.socket().peer_addr().ok())
    }
}
