//! The PROXY protocol, versions 1 and 2, on accepted connections: a proxy says in a header before
//! all else who its client is (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).
//!
//! Anybody can send such a header. So it is for listeners that only proxies can reach, or whose
//! peers are checked.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

mod header;

use header::{FIRST, LINE, Start, V2_HEAD};

/// Who made a connection through a proxy, and to where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProxiedAddresses {
    /// The client.
    pub source: SocketAddr,
    /// The address that the client has connected to.
    pub destination: SocketAddr,
}

/// A connection on which a header can be received. Implemented for [`TcpStream`] and
/// [`UnixStream`].
pub trait ProxySocket: AsFd + sealed::Sealed {}

impl ProxySocket for TcpStream {}
impl ProxySocket for UnixStream {}

mod sealed {
    use super::{Future, Interest, TcpStream, UnixStream, io};

    pub trait Sealed: Send + Sync {
        fn wait(&self) -> impl Future<Output = io::Result<()>> + Send;
        fn try_read<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T>;
    }

    impl Sealed for TcpStream {
        async fn wait(&self) -> io::Result<()> {
            self.readable().await
        }

        fn try_read<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            self.try_io(Interest::READABLE, call)
        }
    }

    impl Sealed for UnixStream {
        async fn wait(&self) -> io::Result<()> {
            self.readable().await
        }

        fn try_read<T>(&self, call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
            self.try_io(Interest::READABLE, call)
        }
    }
}

/// Receives the header with which a connection has to begin, and nothing after it. `None` if it
/// says nothing about a client (`UNKNOWN`, `LOCAL`, as for health checks, or a Unix socket): then
/// the connection's own addresses count.
///
/// At most 4 KiB are read. There is no timeout, so the caller needs one.
///
/// # Errors
/// `InvalidData` if the connection begins otherwise; `UnexpectedEof` if it ends before; those of
/// recv(2). Then the connection is to be closed.
///
/// # Cancel safety
/// Not cancel safe: a part of the header may have been taken, so the connection is to be closed.
///
/// ```
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::{TcpListener, TcpStream};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
/// let listener = TcpListener::bind("127.0.0.1:0").await?;
/// let mut proxy = TcpStream::connect(listener.local_addr()?).await?;
/// proxy.write_all(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\nhello").await?;
/// let (mut socket, _) = listener.accept().await?;
/// let client = underpass::proxy_protocol::receive(&socket).await?;
/// assert_eq!(client.unwrap().source, "192.0.2.7:5000".parse().unwrap());
/// let mut rest = [0; 5];
/// socket.read_exact(&mut rest).await?;
/// assert_eq!(&rest, b"hello");
/// # std::io::Result::Ok(())
/// # })?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub async fn receive(socket: &impl ProxySocket) -> io::Result<Option<ProxiedAddresses>> {
    let mut first = [0; FIRST];
    let mut known = 0;
    while known < FIRST {
        known += take(socket, &mut first[known..], RecvFlags::empty()).await?;
        // Who speaks another protocol is told at once, and not when more has come.
        header::begins(&first[..known])?;
    }
    match header::start(&first) {
        Start::Line => {
            let line = rest_of_line(socket, first).await?;
            header::read_line(&line)
        }
        Start::Binary => {
            let mut head = [0; V2_HEAD];
            head[..FIRST].copy_from_slice(&first);
            exactly(socket, &mut head[FIRST..]).await?;
            let mut rest = vec![0; header::length(head)?];
            exactly(socket, &mut rest).await?;
            header::read_binary(head, &rest)
        }
    }
}

/// The line that begins with `first`, to its end. What follows it stays in the socket.
async fn rest_of_line(socket: &impl ProxySocket, first: [u8; FIRST]) -> io::Result<Vec<u8>> {
    let mut line = first.to_vec();
    let mut seen = [0; LINE];
    while line.len() < LINE {
        let room = LINE - line.len();
        let count = take(socket, &mut seen[..room], RecvFlags::PEEK).await?;
        let end = seen[..count].iter().position(|byte| *byte == b'\n');
        let taken = &mut seen[..end.map_or(count, |end| end + 1)];
        exactly(socket, taken).await?;
        line.extend_from_slice(taken);
        if end.is_some() {
            break;
        }
    }
    Ok(line)
}

async fn exactly(socket: &impl ProxySocket, bytes: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        done += take(socket, &mut bytes[done..], RecvFlags::empty()).await?;
    }
    Ok(())
}

/// Receives some bytes, at least one.
async fn take(socket: &impl ProxySocket, bytes: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    loop {
        socket.wait().await?;
        let received = socket.try_read(|| Ok(recv(socket, &mut *bytes, flags)?.1));
        match received {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) => {
                let told = "the connection ended before its PROXY protocol header did";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, told));
            }
            received => return received,
        }
    }
}

/// Reads a header from bytes, as [`receive`] does from a connection.
#[cfg(fuzzing)]
#[doc(hidden)]
pub fn read(bytes: &[u8]) -> io::Result<Option<ProxiedAddresses>> {
    let ended = || io::Error::from(io::ErrorKind::UnexpectedEof);
    header::begins(&bytes[..bytes.len().min(FIRST)])?;
    let first: [u8; FIRST] = *bytes.first_chunk().ok_or_else(ended)?;
    match header::start(&first) {
        Start::Line => {
            let most = &bytes[..bytes.len().min(LINE)];
            let end = most.iter().position(|byte| *byte == b'\n');
            header::read_line(&most[..end.map_or(most.len(), |end| end + 1)])
        }
        Start::Binary => {
            let head: [u8; V2_HEAD] = *bytes.first_chunk().ok_or_else(ended)?;
            let end = V2_HEAD + header::length(head)?;
            header::read_binary(head, bytes.get(V2_HEAD..end).ok_or_else(ended)?)
        }
    }
}
