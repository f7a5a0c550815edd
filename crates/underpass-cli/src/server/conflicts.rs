//! Finds addresses that cannot both be listened at, and targets that lead back to this server.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::net::sockopt;
use underpass::connect::Peer;

use crate::exit::Failure;
use crate::io::listen::{self, ListeningSocket};
use crate::values::Address;

/// Fails if `address`, given by `option`, is already taken by one of the sockets of another option.
pub(super) fn refuse_taken(
    (option, address): (&str, &Address),
    (other, sockets): (&str, &[ListeningSocket]),
) -> Result<(), Failure> {
    let taken = match address {
        Address::Tls(_) => {
            let address = address.short();
            return Err(Failure::usage(format_args!(
                "--metrics {address}: metrics are served over plain HTTP; name an address without tls://"
            )));
        }
        Address::Unix(path) => sockets
            .iter()
            .any(|socket| socket.path().as_ref() == Some(path)),
        Address::Port(port) => {
            let addr = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
            sockets
                .iter()
                .filter_map(ListeningSocket::ip_address)
                .any(|bound| collide(bound, addr))
        }
        Address::Tcp(host) => listen::look_up(host).into_iter().flatten().any(|addr| {
            sockets
                .iter()
                .filter_map(ListeningSocket::ip_address)
                .any(|bound| collide(bound, addr))
        }),
    };
    if taken {
        let address = address.short();
        return Err(Failure::usage(format_args!(
            "{option} {address}: that address is in use by {other}; give {option} an address of its own"
        )));
    }
    Ok(())
}

/// Whether the two addresses cannot be bound at the same time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

/// Whether a connection to `peer` would arrive at `socket`.
pub(crate) fn leads_to(peer: &Peer, socket: &ListeningSocket) -> bool {
    match (peer, socket.ip_address(), socket.path()) {
        (Peer::Tcp(addrs), Some(bound), _) => {
            let only_ipv6 = sockopt::ipv6_v6only(socket).unwrap_or(false);
            addrs.iter().any(|to| reaches(*to, bound, only_ipv6))
        }
        (Peer::Unix(path), _, Some(own)) => is_same_file(path, &own),
        _ => false,
    }
}

fn reaches(to: SocketAddr, bound: SocketAddr, only_ipv6: bool) -> bool {
    let (ip, own) = (to.ip().to_canonical(), bound.ip().to_canonical());
    if to.port() != bound.port() {
        return false;
    }
    // Connecting to the unspecified address connects to this machine.
    if ip.is_unspecified() || own.is_unspecified() {
        let family = ip.is_ipv4() == own.is_ipv4() || (ip.is_ipv4() && !only_ipv6);
        return family && is_here(ip);
    }
    ip == own
}

/// Whether `ip` is an address of this machine: only those can be bound. The check binds a datagram
/// socket, which takes no port that a server could need.
fn is_here(ip: IpAddr) -> bool {
    ip.is_unspecified() || ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

/// Compares device and inode, so that links and other names count as the same file.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let [one, other] = [one, other].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    });
    one.is_some() && one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_to_a_listener_is_known_by_its_addresses() {
        let table = [
            ("127.0.0.1:1", "127.0.0.1:1", true),
            ("127.0.0.1:2", "127.0.0.1:1", false),
            ("127.0.0.2:1", "127.0.0.1:1", false),
            ("127.0.0.1:1", "0.0.0.0:1", true),
            ("127.0.0.9:1", "0.0.0.0:1", true),
            ("0.0.0.0:1", "127.0.0.1:1", true),
            ("[::ffff:127.0.0.1]:1", "0.0.0.0:1", true),
            ("127.0.0.1:1", "[::]:1", true),
            ("[::1]:1", "[::]:1", true),
            ("[::1]:1", "0.0.0.0:1", false),
            // TEST-NET-1 (RFC 5737) belongs to nobody.
            ("192.0.2.1:1", "[::]:1", false),
            ("192.0.2.1:1", "0.0.0.0:1", false),
        ];
        for (to, bound, wanted) in table {
            let reached = reaches(to.parse().unwrap(), bound.parse().unwrap(), false);
            assert_eq!(reached, wanted, "{to} at {bound}");
        }
        let ipv6_only = reaches(
            "127.0.0.1:1".parse().unwrap(),
            "[::]:1".parse().unwrap(),
            true,
        );
        assert!(!ipv6_only);
    }
}
