//! The PROXY protocol's header, versions 1 and 2: who connected, and to where
//! (<https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>).

use std::net::{IpAddr, SocketAddr};

use underpass::StreamSocket;
use underpass::proxy_protocol::ProxiedAddresses;

use crate::values::ProxyVersion;

/// The first bytes of version 2. No other protocol begins with them.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header for a connection that was accepted as `near`, or whose addresses a proxy has `named`.
pub(super) fn header(
    version: ProxyVersion,
    near: &StreamSocket,
    named: Option<ProxiedAddresses>,
) -> Vec<u8> {
    let ends = near
        .tcp()
        .and_then(|socket| socket.peer_addr().ok().zip(socket.local_addr().ok()));
    let named = named.map(|it| (it.source, it.destination));
    let ends = named.or(ends);
    // A dual-stack socket reports IPv4 addresses as IPv6 ones.
    let plain = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    let ends = ends.map(|(from, to)| (plain(from), plain(to)));
    match version {
        ProxyVersion::V1 => text(ends).into_bytes(),
        ProxyVersion::V2 => binary(ends),
    }
}

fn text(ends: Option<(SocketAddr, SocketAddr)>) -> String {
    let Some((from, to)) = ends else {
        return "PROXY UNKNOWN\r\n".to_owned();
    };
    let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
    let (source, target) = (from.ip(), to.ip());
    format!(
        "PROXY {family} {source} {target} {} {}\r\n",
        from.port(),
        to.port()
    )
}

fn binary(ends: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    /// Version 2, command PROXY: the connection is made for somebody else.
    const PROXY: u8 = 0x21;
    const UNSPECIFIED: u8 = 0x00;
    const TCP_OVER_IPV4: u8 = 0x11;
    const TCP_OVER_IPV6: u8 = 0x21;
    let mut addresses = Vec::new();
    let family = match ends {
        None => UNSPECIFIED,
        Some((from, to)) => {
            for end in [from, to] {
                match end.ip() {
                    IpAddr::V4(ip) => addresses.extend(ip.octets()),
                    IpAddr::V6(ip) => addresses.extend(ip.octets()),
                }
            }
            addresses.extend(from.port().to_be_bytes());
            addresses.extend(to.port().to_be_bytes());
            if from.is_ipv4() {
                TCP_OVER_IPV4
            } else {
                TCP_OVER_IPV6
            }
        }
    };
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXY, family]);
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(from: &str, to: &str) -> (SocketAddr, SocketAddr) {
        (from.parse().unwrap(), to.parse().unwrap())
    }

    #[test]
    fn version_1_is_a_line() {
        let four = text(Some(ends("192.168.0.1:56324", "192.168.0.11:443")));
        assert_eq!(four, "PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
        let six = text(Some(ends("[2001:db8::1]:1", "[::1]:65535")));
        assert_eq!(six, "PROXY TCP6 2001:db8::1 ::1 1 65535\r\n");
        assert_eq!(text(None), "PROXY UNKNOWN\r\n");
    }

    #[test]
    fn version_2_is_binary() {
        let four = binary(Some(ends("1.2.3.4:258", "5.6.7.8:772")));
        let wanted =
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\x01\x02\x03\x04";
        assert_eq!(four, wanted);
        let six = binary(Some(ends("[::1]:1", "[::2]:2")));
        assert_eq!((six.len(), &six[12..16]), (16 + 36, &b"\x21\x21\0\x24"[..]));
        assert_eq!(binary(None), b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0");
    }
}
