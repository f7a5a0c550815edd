//! The network interface that a connection's bytes leave by, and whether it can gather.

use std::cell::RefCell;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// How old an answer may be in the receipt of a transfer. The kernel's answer about another
/// interface than `lo` costs six calls, more than a small transfer itself.
const RECENT: Duration = Duration::from_millis(100);

/// Counts the changes made by [`Egress::set_gathers`], which end the life of all answers.
static CHANGES: AtomicU64 = AtomicU64::new(0);

/// What an answer is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    /// `lo`, which is the same in every network namespace.
    Loopback,
    /// A connection: its cookie, which the kernel never gives again, and its peer.
    Connection(u64, SocketAddr),
}

/// The last answer that this thread got.
struct Answer {
    about: About,
    at: Instant,
    changes: u64,
    egress: Egress,
}

thread_local! {
    static LAST: RefCell<Option<Answer>> = const { RefCell::new(None) };
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

    /// As [`of`](Self::of) for a socket whose peer is known, but the answer may be [`RECENT`].
    pub(crate) fn recent(fd: BorrowedFd<'_>, peer: SocketAddr) -> std::io::Result<Self> {
        let about = if peer.ip().is_loopback() {
            About::Loopback
        } else {
            About::Connection(rustix::net::sockopt::socket_cookie(fd)?, peer)
        };
        let changes = CHANGES.load(Ordering::Acquire);
        let known = LAST.with_borrow(|last| {
            let last = last.as_ref().filter(|last| last.about == about)?;
            let holds = last.changes == changes && last.at.elapsed() < RECENT;
            holds.then(|| last.egress.clone())
        });
        if let Some(egress) = known {
            return Ok(egress);
        }
        let egress = Self::of(fd)?;
        let answer = Answer {
            about,
            at: Instant::now(),
            changes,
            egress: egress.clone(),
        };
        LAST.replace(Some(answer));
        Ok(egress)
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
        ethtool::set_scatter_gather(socket.as_fd(), interface, on)?;
        CHANGES.fetch_add(1, Ordering::AcqRel);
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn remember(about: About, at: Instant, changes: u64) {
        let egress = Egress::assumed("remembered", None);
        LAST.replace(Some(Answer {
            about,
            at,
            changes,
            egress,
        }));
    }

    #[test]
    fn an_answer_counts_for_its_connection_for_a_short_time_and_until_a_change() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let socket = TcpStream::connect(address).unwrap();
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 80));
        let cookie = rustix::net::sockopt::socket_cookie(&socket).unwrap();
        // The socket is asked about under another peer, so that its cookie counts.
        let asked = |peer| Egress::recent(socket.as_fd(), peer).unwrap().interface;
        let changes = CHANGES.load(Ordering::Acquire);
        let later = Instant::now() + Duration::from_secs(600);
        let long_ago = Instant::now().checked_sub(RECENT).unwrap();
        for (about, peer) in [
            (About::Loopback, address),
            (About::Connection(cookie, elsewhere), elsewhere),
        ] {
            remember(about, later, changes);
            assert_eq!(asked(peer), "remembered");
            remember(about, long_ago, changes);
            assert_eq!(asked(peer), "lo", "too old");
            remember(about, later, changes.wrapping_sub(1));
            assert_eq!(asked(peer), "lo", "changed");
        }
        for about in [
            About::Loopback,
            About::Connection(cookie + 1, elsewhere),
            About::Connection(cookie, address),
        ] {
            remember(about, later, changes);
            assert_eq!(asked(elsewhere), "lo", "about something else");
        }
    }
}
