//! Connections that have a share of a rate while they send.

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
use underpass_http::{HttpSocket, TlsConnection};

use super::{Share, TotalRate};

/// A listener whose connections share a rate.
pub(crate) struct PacedListener<L> {
    pub(crate) listener: L,
    pub(crate) rate: Arc<TotalRate>,
}

impl<L: Listener<Socket: HttpSocket + AsFd>> Listener for PacedListener<L> {
    type Socket = Paced<L::Socket>;
    type Opening = Pin<Box<dyn Future<Output = io::Result<Self::Socket>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let opening = self.listener.accept().await?;
        let rate = Arc::clone(&self.rate);
        Ok(Box::pin(async move {
            let socket = opening.await?;
            let share = Share::of(&socket, rate);
            Ok(Paced { share, socket })
        }))
    }
}

/// A connection with its share, which is dropped first.
pub(crate) struct Paced<S> {
    share: Share,
    socket: S,
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.share.sends();
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.share.sends();
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

impl<S: HttpSocket> HttpSocket for Paced<S> {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        self.share.sends();
        self.socket.poll_send(cx, slices, more)
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        self.share.sends();
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
        self.share.sends();
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
        self.socket.peer()
    }
}
