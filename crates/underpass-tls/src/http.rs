//! HTTPS for `underpass_http::serve`.

use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use underpass_http::{HttpSocket, Listener};

use crate::error::{FailureReason, HandshakeError};
use crate::handshake::Handshake;
use crate::info::Mode;
use crate::server::ServerConfig;
use crate::stats::TlsStats;
use crate::stream::TlsStream;

/// Accepts TLS connections for [`underpass_http::serve`].
///
/// The handshake runs in the connection's task, within its time limit. Who speaks plain HTTP is
/// told so by a plain 400.
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
#[derive(Debug)]
#[must_use = "a listener does nothing until it is served"]
pub struct TlsListener {
    listener: TcpListener,
    config: ServerConfig,
    stats: Arc<TlsStats>,
}

impl TlsListener {
    /// TLS on `listener`. If the configuration names no application protocols, `http/1.1` is
    /// offered.
    pub fn new(listener: TcpListener, config: ServerConfig) -> Self {
        let config = if config.has_alpn() {
            config
        } else {
            config.alpn(["http/1.1"])
        };
        Self {
            listener,
            config,
            stats: Arc::default(),
        }
    }

    /// Uses these counters, which other listeners may share.
    pub fn stats(mut self, stats: Arc<TlsStats>) -> Self {
        self.stats = stats;
        self
    }
}

impl Listener for TlsListener {
    type Socket = TlsStream;
    type Opening = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = self.listener.accept().await?;
        let (config, stats) = (self.config.clone(), Arc::clone(&self.stats));
        Ok(Box::pin(async move {
            let opened = open(socket, &config).await;
            stats.note(opened.as_ref().map(TlsStream::info));
            opened
        }))
    }
}

async fn open(socket: TcpStream, config: &ServerConfig) -> io::Result<TlsStream> {
    // Responses are written whole, so Nagle's algorithm would only delay them.
    socket.set_nodelay(true)?;
    let mut handshake = Handshake::server(config, std::os::fd::AsFd::as_fd(&socket))?;
    match TlsStream::establish(&mut handshake, &socket).await {
        // HTTP says itself where a request ends, and many clients just close.
        Ok(session) => Ok(TlsStream::new(socket, session).cut_is_end()),
        Err(error) => {
            let reason = HandshakeError::of(&error).map(HandshakeError::reason);
            if reason == Some(FailureReason::PlainHttp) {
                // It is only a courtesy.
                let _ = refuse_plain_http(socket).await;
            }
            Err(error)
        }
    }
}

const PLAIN_HTTP_REFUSED: &[u8] = b"HTTP/1.1 400 Bad Request\r\n\
    content-type: text/plain; charset=utf-8\r\n\
    content-length: 49\r\n\
    connection: close\r\n\r\n\
    this port speaks HTTPS: ask for https:// instead\n";

/// The most that is read of a plain request before the connection is closed.
const PLAIN_REQUEST: usize = 64 << 10;

/// Answers a plain request, before any secret exists. The request is read to its end, or to the
/// limit: closing a socket with unread bytes resets it, and the answer may be lost.
async fn refuse_plain_http(mut socket: TcpStream) -> io::Result<()> {
    socket.write_all(PLAIN_HTTP_REFUSED).await?;
    socket.shutdown().await?;
    let mut bytes = [0; 4 << 10];
    let mut left = PLAIN_REQUEST;
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
        let _ = (cx, file, offset, len);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
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

    fn peer(&self) -> Option<SocketAddr> {
        self.socket().peer_addr().ok()
    }
}
