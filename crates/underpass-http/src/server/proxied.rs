//! Connections that come through a proxy that says in a header who its client is.

use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::Version;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use underpass::accept::Listener;
use underpass::proxy_protocol::{ProxySocket, receive};

use super::HttpSocket;
use crate::server::observe::TlsConnection;

/// Says whether a proxy at this address is believed; `None` is a peer on a Unix socket.
type TrustsProxy = Arc<dyn Fn(Option<SocketAddr>) -> bool + Send + Sync>;

/// A listener for proxies that speak the PROXY protocol, versions 1 and 2.
///
/// Every connection has to begin with its header, and to come from a proxy that is believed; others
/// are closed. What the header says is the connection's [`peer`](HttpSocket::peer): in logs, and
/// for [`Serve::connect_info`](crate::Serve::connect_info). The header has to come within the time
/// that a request's head may take.
///
/// ```no_run
/// # async fn example(app: underpass_http::ServeDir) -> std::io::Result<()> {
/// use underpass_http::ProxyListener;
///
/// let listener = tokio::net::TcpListener::bind("0.0.0.0:8080").await?;
/// let own = |peer: Option<std::net::SocketAddr>| peer.is_some_and(|it| it.ip().is_loopback());
/// underpass_http::serve(ProxyListener::new(listener, own), app).await
/// # }
/// ```
#[must_use = "a listener does nothing until it is served"]
pub struct ProxyListener<L> {
    listener: L,
    trusts: TrustsProxy,
}

impl<L> ProxyListener<L> {
    /// Believes the proxies for which `trusts` is true; `None` is a peer on a Unix socket.
    pub fn new(
        listener: L,
        trusts: impl Fn(Option<SocketAddr>) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self {
            listener,
            trusts: Arc::new(trusts),
        }
    }
}

impl<L: fmt::Debug> fmt::Debug for ProxyListener<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyListener")
            .field("listener", &self.listener)
            .finish_non_exhaustive()
    }
}

impl<L> Listener for ProxyListener<L>
where
    L: Listener<Socket: HttpSocket + ProxySocket>,
{
    type Socket = Proxied<L::Socket>;
    type Opening = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let opening = self.listener.accept().await?;
        let trusts = Arc::clone(&self.trusts);
        Ok(Box::pin(async move {
            let socket = opening.await?;
            let proxy = socket.peer();
            if !trusts(proxy) {
                let told = "this peer is no proxy that is believed";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, told));
            }
            let client = receive(&socket).await?.map(|it| it.source);
            let peer = client.or(proxy);
            Ok(Proxied { socket, peer })
        }))
    }
}

/// A connection whose proxy has said who its client is, see [`ProxyListener`].
#[derive(Debug)]
pub struct Proxied<S> {
    socket: S,
    /// The client, or the proxy if that is its own connection.
    peer: Option<SocketAddr>,
}

impl<S> Proxied<S> {
    /// The connection to the proxy.
    pub fn socket(&self) -> &S {
        &self.socket
    }
}

impl<S: AsFd> AsFd for Proxied<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Proxied<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Proxied<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

impl<S: HttpSocket> HttpSocket for Proxied<S> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_send(cx, slices, more)
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_send_file(cx, file, offset, len)
    }

    fn encrypts(&self) -> bool {
        self.socket.encrypts()
    }

    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_encrypt(cx, slices, check)
    }

    fn unsent(&self) -> u64 {
        self.socket.unsent()
    }

    fn set_cork(&mut self, cork: bool) {
        self.socket.set_cork(cork);
    }

    fn agreed_version(&self) -> Option<Version> {
        self.socket.agreed_version()
    }

    fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
        known: usize,
    ) -> Poll<io::Result<usize>> {
        self.socket.poll_peek(cx, bytes, known)
    }

    fn tls(&self) -> Option<TlsConnection> {
        self.socket.tls()
    }

    fn peer(&self) -> Option<SocketAddr> {
        self.peer
    }
}
