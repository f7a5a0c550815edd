//! Addresses as messages show them: where a server can be reached, and which peer has connected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use rustix::net::sockopt;
use underpass::{StreamSocket, units};

use crate::io::interfaces;
use crate::io::listen::{ListeningSocket, outward};

/// The addresses that clients can use: each IP address of a TCP socket as `name` writes it, or the
/// path of a Unix socket.
pub(crate) fn shown_addresses(
    socket: &ListeningSocket,
    name: impl Fn(SocketAddr) -> String,
) -> Vec<String> {
    match (socket.ip_address(), socket.path()) {
        (Some(addr), _) => {
            let shown = reachable_addresses(addr).into_iter().map(name);
            match socket {
                ListeningSocket::Tls(_, server) => shown.map(|it| server.shown(&it)).collect(),
                _ => shown.collect(),
            }
        }
        (None, Some(path)) => vec![format!("unix:{}", path.display())],
        (None, None) => vec!["a socket without a name".to_owned()],
    }
}

/// The URL of an HTTP server at this address.
pub(crate) fn http_url(addr: SocketAddr) -> String {
    url("http", 80, addr)
}

/// The URL of an HTTPS server at this address.
pub(crate) fn https_url(addr: SocketAddr) -> String {
    url("https", HTTPS_PORT, addr)
}

/// The port that URLs of HTTPS leave out.
pub(crate) const HTTPS_PORT: u16 = 443;

fn url(scheme: &str, usual_port: u16, addr: SocketAddr) -> String {
    let host = url_host(addr);
    match addr.port() {
        port if port == usual_port => format!("{scheme}://{host}/"),
        port => format!("{scheme}://{host}:{port}/"),
    }
}

/// The URL of the metrics.
pub(super) fn metrics(socket: &ListeningSocket) -> String {
    let shown_addresses = shown_addresses(socket, http_url);
    let address = shown_addresses.first().map_or("", String::as_str);
    if address.starts_with("http") {
        format!("{address}metrics")
    } else {
        address.to_owned()
    }
}

/// The name of a peer for messages. An IPv4 address is shown as one, even if a dual-stack socket
/// reports it as IPv6.
pub(crate) fn peer_name(addr: Option<SocketAddr>) -> String {
    let plain = |peer: SocketAddr| SocketAddr::new(peer.ip().to_canonical(), peer.port());
    addr.map_or_else(|| "a local peer".to_owned(), |peer| plain(peer).to_string())
}

/// The IP address and port of the peer; none over a Unix socket, or if the peer is gone.
pub(crate) fn peer_address(connection: &StreamSocket) -> Option<SocketAddr> {
    connection.tcp()?.peer_addr().ok()
}

/// Joins addresses as in a sentence: `a, b and c`.
pub(crate) fn sentence_list(shown_addresses: &[String]) -> String {
    match shown_addresses {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// Says how many threads there are: `1 thread`, `2 threads`.
pub(crate) fn threads(count: usize) -> String {
    units::count(count as u64, "thread")
}

fn url_host(addr: SocketAddr) -> String {
    match addr {
        SocketAddr::V4(addr) => addr.ip().to_string(),
        // The interface of a link-local address follows an escaped % (RFC 6874).
        SocketAddr::V6(addr) if addr.scope_id() > 0 => {
            format!("[{}%25{}]", addr.ip(), addr.scope_id())
        }
        SocketAddr::V6(addr) => format!("[{}]", addr.ip()),
    }
}

/// Replaces the unspecified address by the loopback address and the one that others can reach.
pub(crate) fn reachable_addresses(addr: SocketAddr) -> Vec<SocketAddr> {
    if !addr.ip().is_unspecified() {
        return vec![addr];
    }
    let local = if addr.is_ipv4() || ipv4_works() {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        IpAddr::V6(Ipv6Addr::LOCALHOST)
    };
    let addrs = [Some(local), outward()];
    let addrs = addrs.into_iter().flatten();
    addrs.map(|ip| SocketAddr::new(ip, addr.port())).collect()
}

/// The addresses of network interfaces at which a socket for every address can be reached, besides
/// those of [`reachable_addresses`]. Each has the name of its interface.
pub(crate) fn interface_addresses(socket: &ListeningSocket) -> Vec<(String, SocketAddr)> {
    let Some(bound) = socket.ip_address().filter(|it| it.ip().is_unspecified()) else {
        return Vec::new();
    };
    let shown = reachable_addresses(bound);
    let both = bound.is_ipv6() && !sockopt::ipv6_v6only(socket).unwrap_or(false);
    interfaces::addresses()
        .into_iter()
        .filter(|(_, ip)| both || ip.is_ipv4() == bound.is_ipv4())
        .map(|(name, ip)| (name, SocketAddr::new(ip, bound.port())))
        .filter(|(_, addr)| !shown.contains(addr))
        .collect()
}

fn ipv4_works() -> bool {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        let url = |text: &str| http_url(text.parse().unwrap());
        assert_eq!(url("127.0.0.1:8080"), "http://127.0.0.1:8080/");
        assert_eq!(url("127.0.0.1:80"), "http://127.0.0.1/");
        assert_eq!(url("127.0.0.1:443"), "http://127.0.0.1:443/");
        let https = https_url("127.0.0.1:443".parse().unwrap());
        assert_eq!(https, "https://127.0.0.1/");
        assert_eq!(url("[::1]:8080"), "http://[::1]:8080/");
        assert_eq!(url("[fe80::1%2]:8080"), "http://[fe80::1%252]:8080/");
    }

    #[test]
    fn an_address_that_is_every_address_is_shown_as_one_that_works() {
        for text in ["0.0.0.0:1", "[::]:1"] {
            let shown = reachable_addresses(text.parse().unwrap());
            assert_eq!(shown[0].to_string(), "127.0.0.1:1");
            assert!(shown.iter().all(|addr| !addr.ip().is_unspecified()));
        }
    }

    #[test]
    fn places_are_listed_as_in_a_sentence() {
        let shown_addresses = ["a", "b", "c"].map(str::to_owned);
        assert_eq!(sentence_list(&shown_addresses[..1]), "a");
        assert_eq!(sentence_list(&shown_addresses[..2]), "a and b");
        assert_eq!(sentence_list(&shown_addresses), "a, b and c");
    }
}
