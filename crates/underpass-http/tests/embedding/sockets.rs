//! Connections other than TCP: Unix sockets, and sockets that cannot send files, like TLS in user
//! space.

use std::future::{Ready, ready};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::mpsc;
use underpass_http::{HttpSocket, Listener, ServeDir, ServerStats, serve};

use crate::support::{
    Client, Files, MIB, MORE_THAN_BUFFERS, Server, block_on, bound, bytes, curl, from_std, needs,
};

#[test]
fn files_leave_by_sendfile_to_unix_sockets() {
    let content = bytes(5 * MIB + 1);
    let files = Files::new().with("file", &content);
    let (root, socket) = (files.root().to_owned(), files.path("socket"));
    let bound = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    bound.set_nonblocking(true).unwrap();
    let nowhere = SocketAddr::from(([0; 4], 0));
    let listener = || UnixListener::from_std(bound).unwrap();
    let server = Server::on(nowhere, listener, move |stats| {
        ServeDir::new(root).stats(Arc::clone(stats))
    });
    let mut client = Client::on(UnixStream::connect(&socket).unwrap());
    let answer = client.get("/file");
    assert!(answer.body == content);
    let exchanges = server.log.exchanges(1);
    assert!(exchanges[0].complete && exchanges[0].peer.is_none());
    let expected = (content.len() as u64, answer.head.len() as u64);
    assert_eq!(server.left(), expected);
    if needs::tool("curl") {
        assert!(curl(&["--unix-socket", &socket, "http://localhost/file"]) == content);
    }
}

const KEY: u8 = 0x5A;

/// A stand-in for TLS in user space: bytes are changed on the way, so the kernel cannot send files.
struct Xor(TcpStream);

struct XorListener(TcpListener);

impl Listener for XorListener {
    type Socket = Xor;
    type Opening = Ready<io::Result<Xor>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = self.0.accept().await?;
        Ok(ready(Ok(Xor(socket))))
    }
}

impl AsyncRead for Xor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.0).poll_read(cx, buffer))?;
        for byte in &mut buffer.filled_mut()[before..] {
            *byte ^= KEY;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Xor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // One record at a time, as TLS does.
        let record = &bytes[..bytes.len().min(16 << 10)];
        let sealed: Vec<u8> = record.iter().map(|byte| byte ^ KEY).collect();
        Pin::new(&mut self.0).poll_write(cx, &sealed)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl HttpSocket for Xor {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        _: bool,
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        Pin::new(self).poll_write(cx, first.map_or(&[], |slice| slice))
    }

    fn poll_send_file(
        &mut self,
        _: &mut Context<'_>,
        _: BorrowedFd<'_>,
        _: u64,
        _: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// The other end of the connection, which reverses the change.
struct Opened(std::net::TcpStream);

impl Read for Opened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(buffer)?;
        buffer[..count].iter_mut().for_each(|byte| *byte ^= KEY);
        Ok(count)
    }
}

impl Write for Opened {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sealed: Vec<u8> = bytes.iter().map(|byte| byte ^ KEY).collect();
        self.0.write(&sealed)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn ciphering(files: &Files) -> (Server, Client<Opened>) {
    let root = files.root().to_owned();
    let (listener, address) = bound();
    let listener = || XorListener(from_std(listener));
    let server = Server::on(address, listener, move |stats| {
        ServeDir::new(root).stats(Arc::clone(stats))
    });
    let socket = std::net::TcpStream::connect(address).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, 64 << 10).unwrap();
    (server, Client::on(Opened(socket)))
}

#[test]
fn a_socket_that_sends_no_files_is_given_their_bytes() {
    let content = bytes(3 * MIB + 1);
    let files = Files::new().with("file", &content).with("small", b"small");
    let (server, mut client) = ciphering(&files);
    let answer = client.get("/file");
    assert!(answer.body == content);
    client.ask("GET", "/file", "Range: bytes=5-1000004\r\n");
    assert!(client.answer().body == content[5..1_000_005]);
    assert_eq!(client.get("/small").body, b"small");
    server.log.exchanges(3);
    assert_eq!(server.stats.bytes_sendfile.get(), 0);
    assert!(server.stats.fallbacks_refused.get() > 0);
}

#[test]
fn pitfall_22_a_socket_that_sends_no_files_ends_short_with_a_truncated_one() {
    let content = bytes(MORE_THAN_BUFFERS);
    let files = Files::new().with("file", &content).with("small", b"small");
    for len in [0, 20 * MIB + 123, MORE_THAN_BUFFERS - 10] {
        std::fs::write(files.path("file"), &content).unwrap();
        let (server, mut client) = ciphering(&files);
        client.ask("GET", "/file", "");
        client.ask("GET", "/small", "");
        assert_eq!(client.head().len(), content.len() as u64);
        let file = std::fs::File::options()
            .write(true)
            .open(files.path("file"));
        file.unwrap().set_len(len as u64).unwrap();
        let rest = client.rest();
        assert!(rest.len() < content.len(), "{len}: {}", rest.len());
        let failure = server.log.failure();
        assert!(failure.contains("truncated while it was sent"), "{failure}");
        assert_eq!(server.stats.truncated.get(), 1, "{len}");
        assert!(!server.log.exchanges(1)[0].complete);
    }
}

/// Connections in memory, without the kernel.
struct InMemory(mpsc::Receiver<DuplexStream>);

struct Duplex(DuplexStream);

impl Listener for InMemory {
    type Socket = Duplex;
    type Opening = Ready<io::Result<Duplex>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        match self.0.recv().await {
            Some(stream) => Ok(ready(Ok(Duplex(stream)))),
            None => std::future::pending().await,
        }
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl HttpSocket for Duplex {
    fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
        _: bool,
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, slices)
    }

    fn poll_send_file(
        &mut self,
        _: &mut Context<'_>,
        _: BorrowedFd<'_>,
        _: u64,
        _: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

/// hyper at both ends, in one thread.
#[test]
fn hypers_client_gets_files_through_memory() {
    let content = bytes(MIB + 1);
    let files = Files::new().with("file", &content);
    let stats = Arc::<ServerStats>::default();
    let request = Request::get("/file").header("host", "memory");
    let request = request.body(Empty::<Bytes>::new()).unwrap();
    let got = block_on(async {
        let (sender, receiver) = mpsc::channel(1);
        let serving = serve(InMemory(receiver), ServeDir::new(files.root()));
        tokio::spawn(serving.stats(Arc::clone(&stats)).into_future());
        let (ours, theirs) = tokio::io::duplex(10_000);
        sender.send(theirs).await.unwrap();
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(ours))
            .await
            .unwrap();
        tokio::spawn(connection);
        let response = requests.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        response.into_body().collect().await.unwrap().to_bytes()
    });
    assert!(got == content);
    assert_eq!(stats.bytes_sendfile.get(), 0);
    assert!(stats.fallbacks_refused.get() > 0);
}
