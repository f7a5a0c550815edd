//! Plain TCP below HTTP. `underpass-tls` has the same tests with TLS there.

use std::net::SocketAddr;
use std::net::TcpStream;

use tokio::net::TcpListener;

pub(crate) const SCHEME: &str = "http";

/// What curl is told besides. Redirects are followed by HTTP/1.1: with prior knowledge, curl 7.88
/// fails on every connection that it uses again (curl/curl#10643).
pub(crate) fn curl_options(args: &[&str]) -> &'static [&'static str] {
    if crate::TRANSPORT.is_http2() && !args.contains(&"-L") {
        &["--http2-prior-knowledge"]
    } else {
        &[]
    }
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
