//! Accepts connections with TLS, for `relay` and `fan-out`.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;

use tokio::net::{TcpListener, TcpStream};
use underpass::accept::Listener;
use underpass_tls::{Acceptor, TlsStream};

use super::shown_address::peer_name;
use crate::io::tls::{HANDSHAKE, TlsServer};
use crate::report;

/// A TCP listener, and the TLS of its connections. The handshake runs in the connection's task.
pub(crate) struct TlsListener {
    listener: TcpListener,
    server: TlsServer,
}

impl TlsListener {
    pub(crate) fn new(listener: TcpListener, server: TlsServer) -> Self {
        Self { listener, server }
    }
}

impl Listener for TlsListener {
    type Socket = TlsStream;
    type Opening = Pin<Box<dyn Future<Output = io::Result<TlsStream>> + Send>>;

    async fn accept(&mut self) -> io::Result<Self::Opening> {
        let socket = Listener::accept(&mut self.listener).await?;
        let server = self.server.clone();
        Ok(Box::pin(async move {
            let socket = socket.await?;
            let peer = socket.peer_addr().ok();
            shake_hands(socket, peer, &server).await
        }))
    }
}

/// Shakes hands with `peer`, which a proxy may have named.
pub(crate) async fn shake_hands(
    socket: TcpStream,
    peer: Option<SocketAddr>,
    server: &TlsServer,
) -> io::Result<TlsStream> {
    let acceptor = Acceptor::new(server.config.clone());
    let opened = match tokio::time::timeout(HANDSHAKE, acceptor.accept(socket)).await {
        Ok(opened) => opened,
        Err(_) => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            format!("the TLS handshake took longer than {HANDSHAKE:?}"),
        )),
    };
    if let Err(error) = &opened
        && server.verbose
    {
        report::notice(format_args!("{}: {error}", peer_name(peer)));
    }
    opened
}
