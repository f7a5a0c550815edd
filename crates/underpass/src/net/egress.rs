//! The network interface that a connection's bytes leave by, and whether it can gather.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use rustix::fd::{AsFd, BorrowedFd};

use super::ip_address;
use crate::sys::{ethtool, netlink};

/// A network interface, as the kernel described it.
///
/// Gathering (scatter-gather DMA) is what makes `sendfile` free of copies by the CPU. If an
/// interface cannot gather, the CPU first copies each packet into contiguous memory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Egress {
    /// Its name, such as `lo` or `eth0`.
    pub interface: String,
    /// Whether it gathers; `None` where the driver would not say.
    pub gathers: Option<bool>,
}

impl Egress {
    /// An interface made up for a plan.
    pub fn assumed(interface: impl Into<String>, gathers: Option<bool>) -> Self {
        Self {
            interface: interface.into(),
            gathers,
        }
    }

    /// Asks the routing table (rtnetlink(7)) for the way to the peer of the TCP socket `fd`, and
    /// that interface for its scatter-gather setting (ethtool's `ETHTOOL_GSG`). No privilege is
    /// needed.
    ///
    /// The answer is for the route as it is now; a later change of route or setting is not seen.
    ///
    /// # Errors
    /// What the kernel said; `NotConnected` if the socket has no peer.
    pub fn of(fd: impl AsFd) -> std::io::Result<Self> {
        let fd = fd.as_fd();
        let not_ip = || std::io::Error::from(std::io::ErrorKind::Unsupported);
        let peer = rustix::net::getpeername(fd)?
            .and_then(ip_address)
            .ok_or_else(not_ip)?;
        let local = ip_address(rustix::net::getsockname(fd)?).ok_or_else(not_ip)?;
        // A host's packets to itself leave by lo, whichever of its addresses they carry.
        if local.ip() == peer.ip() || peer.ip().is_loopback() {
            return Ok(Self::ask(fd, "lo".to_owned()));
        }
        Self::towards(fd, peer)
    }

    /// The same for an address that is not connected yet; `socket` is any socket.
    ///
    /// # Errors
    /// What the kernel said, for example `NetworkUnreachable`.
    pub fn towards(socket: impl AsFd, peer: SocketAddr) -> std::io::Result<Self> {
        let socket = socket.as_fd();
        let index = netlink::egress_index(unmapped(peer.ip()))?;
        let interface = rustix::net::netdevice::index_to_name(socket, index)?;
        Ok(Self::ask(socket, interface))
    }

    /// Switches scatter-gather of `interface` on or off, as `ethtool -K` does, in the network
    /// namespace of `socket`. For tests and measurements; it needs `CAP_NET_ADMIN`.
    ///
    /// # Errors
    /// What the kernel said, for example `PermissionDenied`.
    pub fn set_gathers(socket: impl AsFd, interface: &str, on: bool) -> std::io::Result<()> {
        Ok(ethtool::set_scatter_gather(socket.as_fd(), interface, on)?)
    }

    fn ask(socket: BorrowedFd<'_>, interface: String) -> Self {
        let gathers = ethtool::scatter_gather(socket, &interface).ok();
        Self { interface, gathers }
    }
}

/// Turns `::ffff:a.b.c.d` into an IPv4 address, since such packets travel as IPv4.
fn unmapped(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl fmt::Display for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.gathers {
            Some(true) => "gathers",
            Some(false) => "does not gather",
            None => "does not say whether it gathers",
        };
        write!(f, "{} {verb}", self.interface)
    }
}
