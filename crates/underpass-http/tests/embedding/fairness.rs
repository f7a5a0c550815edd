//! A connection whose peer reads as fast as it is sent to does not keep the other connections from
//! their turns.

use std::future::{Ready, ready};
use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;
use underpass_http::{FileBody, HttpSocket, Listener, ServeDir, ServerStats};

use crate::support::{Client, Files, MIB, Server, bound, bytes, from_std};

const BIG: usize = 64 * MIB;

/// A socket that asks for the large file and takes everything at once, for ever; or a real socket.
enum Peer {
    Insatiable { request: &'static [u8] },
    Real(TcpStream),
}

impl AsyncRead for Peer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Insatiable { request: b"" } => Poll::Pending,
            Self::Insatiable { request } => {
                let (now, later) = request.split_at(request.len().min(buffer.remaining()));
                buffer.put_slice(now);
                *request = later;
                Poll::Ready(Ok(()))
            }
            Self::Real(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Peer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(bytes)], false)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl HttpSocket for Peer {
    fn agreed_version(&self) -> Option<http::Version> {
        match self {
            Self::Insatiable { request } if request.starts_with(b"PRI ") => {
                Some(http::Version::HTTP_2)
            }
            _ => None,
        }
    }

    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        more: bool,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Insatiable { .. } => Poll::Ready(Ok(slices.iter().map(|it| it.len()).sum())),
            Self::Real(socket) => socket.poll_send(cx, slices, more),
        }
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: BorrowedFd<'_>,
        offset: u64,
        len: usize,
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Insatiable { .. } => Poll::Ready(Ok(len)),
            Self::Real(socket) => socket.poll_send_file(cx, file, offset, len),
        }
    }
}

/// Accepts the simulated peer first, when the real one's request has already arrived.
struct Both {
    listener: TcpListener,
    request: &'static [u8],
    accepted: Option<TcpStream>,
}

impl Listener for Both {
    type Socket = Peer;
    type Opening = Ready<io::Result<Peer>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        if let Some(socket) = self.accepted.take() {
            return Ok(ready(Ok(Peer::Real(socket))));
        }
        let (socket, _) = self.listener.accept().await?;
        socket.readable().await?;
        self.accepted = Some(socket);
        let request = self.request;
        Ok(ready(Ok(Peer::Insatiable { request })))
    }
}

#[test]
fn pitfall_20_a_reader_without_end_leaves_others_their_turns() {
    let sent = others_have_their_turns(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n", 1);
    assert_eq!(sent.bytes_sendfile.get(), BIG as u64);
    assert!(sent.turns_yielded.get() > 10);
}

/// A connection is one, however many streams it has.
#[test]
fn pitfall_20_three_streams_without_end_leave_others_their_turns() {
    let mut request = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // SETTINGS and WINDOW_UPDATE: the largest windows.
    request.extend(b"\0\0\x06\x04\0\0\0\0\0\0\x04\x7f\xff\xff\xff");
    request.extend(b"\0\0\x04\x08\0\0\0\0\0\x7f\xff\0\0");
    for stream in [1, 3, 5] {
        // HEADERS: `:method GET`, `:scheme http`, `:path /big`, `:authority a`.
        request.extend([0, 0, 11, 1, 5, 0, 0, 0, stream]);
        request.extend(b"\x82\x86\x04\x04/big\x01\x01a");
    }
    let sent = others_have_their_turns(request.leak(), 3);
    assert_eq!(sent.bytes_sendfile.get(), 0);
    assert!(sent.bytes_mapped.get() > 2 * BIG as u64);
}

/// Serves a connection that takes without end what it requests `count` times, and another that
/// comes after it. Returns the counters.
#[track_caller]
fn others_have_their_turns(request: &'static [u8], count: usize) -> Arc<ServerStats> {
    let files = Files::new().with("big", &bytes(BIG));
    let root = files.root().to_owned();
    let (listener, address) = bound();
    let listener = move || Both {
        listener: from_std(listener),
        request,
        accepted: None,
    };
    // No lookup: it may have to wait for another thread.
    let files = ServeDir::new(root);
    let app = tower::service_fn(move |request: http::Request<_>| {
        let files = files.clone();
        async move {
            match request.uri().path() {
                "/small" => Ok(http::Response::new(FileBody::from("small"))),
                _ => files.oneshot(request).await,
            }
        }
    });
    let server = Server::on(address, listener, move |_| app);
    assert_eq!(Client::connect(server.address).get("/small").body, b"small");
    let exchanges = server.log.exchanges(1 + count);
    let target = |at: usize| exchanges[at].request.as_ref().unwrap().uri.path();
    assert_eq!([target(0), target(count)], ["/small", "/big"]);
    Arc::clone(&server.stats)
}

#[test]
fn pitfall_20_a_big_download_over_tcp_is_sent_in_turns() {
    let content = bytes(BIG);
    let files = Files::new().with("big", &content);
    let root = files.root().to_owned();
    let server = Server::start(move |stats| ServeDir::new(root).stats(Arc::clone(stats)));
    assert!(Client::connect(server.address).get("/big").body == content);
    server.log.exchanges(1);
    assert!(server.stats.turns_yielded.get() > 0);
}
