//! Who is at the other end of a connection.

use std::net::SocketAddr;

use underpass::relay::Socket as Connection;

/// As it is said to people: an IPv4 number as one, also where a socket for both families shows it as IPv6.
pub(crate) fn peer(number: Option<SocketAddr>) -> String {
    let plain = |peer: SocketAddr| SocketAddr::new(peer.ip().to_canonical(), peer.port());
    number.map_or_else(|| "a local peer".to_owned(), |peer| plain(peer).to_string())
}

/// The number of whoever connected; none over a Unix socket, or when it is gone.
pub(crate) fn number(connection: &Connection) -> Option<SocketAddr> {
    match connection {
        Connection::Tcp(socket) => socket.peer_addr().ok(),
        Connection::Unix(_) => None,
    }
}
