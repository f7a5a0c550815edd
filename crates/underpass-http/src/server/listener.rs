//! Where connections come from.

use std::future::{Future, Ready, ready};
use std::io;

use tokio::net::{TcpListener, UnixListener};

use crate::server::socket::HttpSocket;

/// Accepts connections: [`TcpListener`] and [`UnixListener`] do, and one that speaks TLS may.
pub trait Listener: Send + 'static {
    /// What is accepted.
    type Socket: HttpSocket;
    /// What has to happen before HTTP can be spoken, such as a TLS handshake: in the connection's
    /// task, and within [`Timeouts::head`](crate::Timeouts::head).
    type Opening: Future<Output = io::Result<Self::Socket>> + Send + 'static;

    /// The next connection.
    ///
    /// Must be cancel safe: a connection that was accepted is returned.
    ///
    /// # Errors
    /// Of one connection, or of the process (`EMFILE`); the server goes on after either.
    fn accept(&mut self) -> impl Future<Output = io::Result<Self::Opening>> + Send;
}

impl Listener for TcpListener {
    type Socket = tokio::net::TcpStream;
    type Opening = Ready<io::Result<Self::Socket>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let (socket, _) = TcpListener::accept(self).await?;
        // Responses are written whole, so there is nothing for Nagle's algorithm to join.
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
