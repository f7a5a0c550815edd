//! What HTTP needs of a connection. Implemented for TCP and Unix sockets; TLS can implement it,
//! too.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::Version;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, recv, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpStream, UnixStream};
use underpass::{Sent, sendfile_once};

use crate::server::observe::TlsConnection;

/// A connection that can send bytes and files.
///
/// Every method has a default, by which a connection sends bytes as it does in tokio, so this is
/// enough for a connection of one's own: `impl HttpSocket for MySocket {}`.
///
/// TLS in user space says so by [`encrypts`](Self::encrypts): it is passed files as slices of their
/// mappings. With TLS in the kernel (kTLS) a socket can send files as plain TCP does.
///
/// A socket that keeps bytes in this process sends them by
/// [`poll_flush`](AsyncWrite::poll_flush), which is called before anything is waited for.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no socket that HTTP can be served on",
    label = "the connections of this listener are `{Self}`",
    note = "implement it for a type of your own that is `AsyncRead + AsyncWrite + Unpin + Send`: \
            `impl underpass_http::HttpSocket for {Self} {{}}`; for TLS see `underpass_tls::TlsListener`"
)]
pub trait HttpSocket: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Sends some of `slices`. `more` says that other bytes follow at once, so the kernel may hold
    /// back a segment that is not full (`MSG_MORE`, send(2)).
    ///
    /// Default: [`poll_write_vectored`](AsyncWrite::poll_write_vectored).
    ///
    /// # Errors
    /// Those of the connection.
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        let _ = more;
        Pin::new(self).poll_write_vectored(cx, slices)
    }

    /// Sends up to `len` bytes of `file` from `offset`. `Ok(0)` means that the file ends there.
    ///
    /// # Errors
    /// Those of the connection; `Unsupported` or `InvalidInput` if this socket cannot send this
    /// file. Then it is passed to [`poll_send`](Self::poll_send), as a slice of its mapping.
    ///
    /// Default: `Unsupported`.
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

    /// Whether this socket encrypts in this process, so that the kernel cannot send files on it.
    /// Everything is then passed to [`poll_encrypt`](Self::poll_encrypt). It must not change during
    /// a connection.
    fn encrypts(&self) -> bool {
        false
    }

    /// Encrypts and sends some of `slices`: memory and parts of mapped files. It calls `check`
    /// after it has read them for the last time, and before it sends what it made of them. If
    /// `check` fails, a file has changed, nothing more may be sent, and its error is returned.
    ///
    /// # Errors
    /// Those of the connection and of `check`.
    fn poll_encrypt(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        check: &mut dyn FnMut() -> io::Result<()>,
    ) -> Poll<io::Result<usize>> {
        check()?;
        self.poll_send(cx, slices, false)
    }

    /// How many bytes of what it took it keeps in this process, because the connection did not take
    /// them yet: encrypted ones. Default: 0.
    fn unsent(&self) -> u64 {
        0
    }

    /// Holds back segments that are not full while `cork` is set (`TCP_CORK`, tcp(7)). It is set
    /// while a large file is sent. Implementations may ignore it.
    fn set_cork(&mut self, cork: bool) {
        let _ = cork;
    }

    /// The version of HTTP that the peers have agreed on, such as by ALPN: `HTTP_2`, or `HTTP_11`
    /// for all others. Default: `None`, which leaves it to the client's first bytes.
    fn agreed_version(&self) -> Option<Version> {
        None
    }

    /// Copies bytes that have arrived, from the first on, without taking them from the socket.
    /// Ready when they are more than `known`, or when no more will come.
    ///
    /// Default: 0, so that only HTTP/1.1 is spoken.
    ///
    /// # Errors
    /// Those of the connection.
    fn poll_peek(
        &mut self,
        cx: &mut Context<'_>,
        bytes: &mut [u8],
        known: usize,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, bytes, known);
        Poll::Ready(Ok(0))
    }

    /// Its TLS, if it has any.
    fn tls(&self) -> Option<TlsConnection> {
        None
    }

    /// The address of the peer, if it has one.
    fn peer(&self) -> Option<SocketAddr> {
        None
    }
}

/// Makes a call when the socket is writable, and again while the call would block.
macro_rules! when_writable {
    ($socket:expr, $cx:expr, $call:expr) => {
        loop {
            ready!($socket.poll_write_ready($cx))?;
            match $socket.try_io(Interest::WRITABLE, || $call) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    };
}

macro_rules! kernel_socket {
    ($socket:ty, $peer:expr, $cork:expr) => {
        impl HttpSocket for $socket {
            fn poll_send(
                &mut self,
                cx: &mut Context<'_>,
                slices: &[IoSlice<'_>],
                more: bool,
            ) -> Poll<io::Result<usize>> {
                when_writable!(self, cx, send(self.as_fd(), slices, more))
            }

            fn poll_send_file(
                &mut self,
                cx: &mut Context<'_>,
                file: BorrowedFd<'_>,
                offset: u64,
                len: usize,
            ) -> Poll<io::Result<usize>> {
                when_writable!(self, cx, send_file(self.as_fd(), file, offset, len))
            }

            fn poll_peek(
                &mut self,
                cx: &mut Context<'_>,
                bytes: &mut [u8],
                known: usize,
            ) -> Poll<io::Result<usize>> {
                loop {
                    ready!(self.poll_read_ready(cx))?;
                    let peek = || peek(self.as_fd(), bytes, known);
                    match self.try_io(Interest::READABLE, peek) {
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                        peeked => return Poll::Ready(peeked),
                    }
                }
            }

            fn set_cork(&mut self, cork: bool) {
                $cork(self, cork);
            }

            fn peer(&self) -> Option<SocketAddr> {
                $peer(self)
            }
        }
    };
}

kernel_socket!(
    TcpStream,
    |socket: &TcpStream| socket.peer_addr().ok(),
    |socket: &TcpStream, cork| {
        // If it fails, only the sizes of segments differ.
        let _ = rustix::net::sockopt::set_tcp_cork(socket, cork);
    }
);
kernel_socket!(UnixStream, |_| None, |_, _| ());

fn send(socket: BorrowedFd<'_>, slices: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
    let mut flags = SendFlags::NOSIGNAL;
    flags.set(SendFlags::MORE, more);
    let sent = if let [slice] = slices {
        rustix::net::send(socket, slice, flags)?
    } else {
        sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), flags)?
    };
    Ok(sent)
}

fn peek(socket: BorrowedFd<'_>, bytes: &mut [u8], known: usize) -> io::Result<usize> {
    let (_, count) = recv(socket, bytes, RecvFlags::PEEK)?;
    if (1..=known).contains(&count) {
        // Nothing new.
        return Err(io::ErrorKind::WouldBlock.into());
    }
    Ok(count)
}

fn send_file(
    socket: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    offset: u64,
    len: usize,
) -> io::Result<usize> {
    match sendfile_once(file, offset, socket, len)? {
        Sent::Moved(count) => Ok(count),
        Sent::Ended => Ok(0),
        Sent::Blocked => Err(io::ErrorKind::WouldBlock.into()),
    }
}
