//! Sources of connections.

use std::future::{Future, Ready, ready};
use std::io;

use tokio::net::{TcpListener, UnixListener};

use crate::server::socket::HttpSocket;

/// Accepts connections. Implemented for [`TcpListener`] and [`UnixListener`]; a TLS listener can
/// implement it, too.
pub trait Listener: Send + 'static {
    /// The connection that is accepted.
    type Socket: HttpSocket;
    /// What comes before HTTP, such as a TLS handshake. It runs in the connection's task, and is
    /// limited by [`Timeouts::head`](crate::Timeouts::head).
    type Opening: Future<Output = io::Result<Self::Socket>> + Send + 'static;

    /// The next connection.
    ///
    /// Must be cancel safe: if the future is dropped, no accepted connection may be lost.
    ///
    /// # Errors
    /// Those of one connection, or of the process (`EMFILE`). The server continues after either.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Opening>> + Send;
}

impl Listener for TcpListener {
    type Socket = tokio::net::TcpStream;
    type Opening = Ready<io::Result<Self::Socket>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = TcpListener::accept(self).await?;
        // Responses are written whole, so Nagle's algorithm would only delay them.
        Ok(ready(socket.set_nodelay(true).map(|()| socket)))
    }
}

impl Listener for UnixListener {
    type Socket = tokio::net::UnixStream;
    type Opening = Ready<io::Result<Self::Socket>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = UnixListener::accept(self).await?;
        Ok(ready(Ok(socket)))
    }
}
