//! Plain TCP below HTTP. `underpass-tls` has the same tests with TLS there.

use std::net::SocketAddr;
use std::net::TcpStream;

use tokio::net::TcpListener;

pub(crate) const SCHEME: &str = "http";

/// What curl is told besides.
pub(crate) fn curl_options() -> &'static [&'static str] {
    &[]
}

/// What the server accepts from.
pub(crate) type Listener = TcpListener;

/// A blocking connection of a client.
pub(crate) type Stream = TcpStream;

pub(crate) fn listener(tcp: TcpListener) -> Listener {
    tcp
}

/// A connection on which the client speaks HTTP/1.1.
pub(crate) fn stream(tcp: TcpStream) -> Stream {
    tcp
}

/// A connection on which the client speaks HTTP/2.
pub(crate) async fn connect(address: SocketAddr) -> std::io::Result<tokio::net::TcpStream> {
    tokio::net::TcpStream::connect(address).await
}
