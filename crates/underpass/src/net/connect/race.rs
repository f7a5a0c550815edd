//! Attempts to connect to one of several addresses, without waiting: RFC 8305, sections 4 and 5.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix, SocketFlags, SocketType, sockopt};

use crate::net::close;
use crate::net::pacing::avoid_local_pacing;

/// How long after one attempt the next one starts: RFC 8305's "Connection Attempt Delay".
const HEAD_START: Duration = Duration::from_millis(250);

/// The attempts to connect to the addresses of one peer. The first that succeeds wins.
pub(super) struct Race<S> {
    waiting: VecDeque<SocketAddr>,
    under_way: Vec<S>,
    /// When to try the next address; at once if no attempt is pending.
    next: Option<Instant>,
    failure: io::Error,
}

/// What a race needs next.
pub(super) enum Next<S> {
    Won(S),
    /// All addresses failed.
    Lost(io::Error),
    /// Wait for an answer, or until this moment.
    Wait(Option<Instant>),
}

impl<S: AsFd> Race<S> {
    pub(super) fn new(addresses: &[SocketAddr]) -> Self {
        Self {
            waiting: in_turn(addresses),
            under_way: Vec::new(),
            next: None,
            failure: io::ErrorKind::AddrNotAvailable.into(),
        }
    }

    /// Starts the attempts that are due. `register` wraps a socket for the event loop.
    pub(super) fn advance(
        &mut self,
        now: Instant,
        register: impl Fn(OwnedFd) -> io::Result<S>,
    ) -> Next<S> {
        while self.next.is_none_or(|next| next <= now) {
            let Some(address) = self.waiting.pop_front() else {
                break;
            };
            self.next = Some(now + HEAD_START);
            let begun = begin(address).and_then(|(socket, connected)| {
                let socket = register(socket)?;
                Ok((socket, connected))
            });
            match begun {
                Err(error) => self.failed(error),
                Ok((socket, false)) => self.under_way.push(socket),
                Ok((socket, true)) => match settled(&socket) {
                    Ok(()) => return Next::Won(socket),
                    Err(error) => self.failed(error),
                },
            }
        }
        if self.under_way.is_empty() {
            return Next::Lost(std::mem::replace(
                &mut self.failure,
                io::ErrorKind::AddrNotAvailable.into(),
            ));
        }
        Next::Wait(self.next.filter(|_| !self.waiting.is_empty()))
    }

    /// The sockets of pending attempts.
    pub(super) fn sockets(&self) -> &[S] {
        &self.under_way
    }

    /// Handles the answer of one of [`sockets`](Self::sockets): returns the socket if it is
    /// connected.
    pub(super) fn answered(&mut self, index: usize) -> Option<S> {
        if index >= self.under_way.len() {
            return None;
        }
        let socket = self.under_way.remove(index);
        match settled(&socket) {
            Ok(()) => Some(socket),
            Err(error) => {
                self.failed(error);
                None
            }
        }
    }

    fn failed(&mut self, error: io::Error) {
        self.next = None;
        // A refusal is the most useful error: the machine is there, and nobody listens.
        if self.failure.kind() != io::ErrorKind::ConnectionRefused {
            self.failure = error;
        }
    }
}

/// Orders the addresses with alternating families, beginning with that of the first.
fn in_turn(addresses: &[SocketAddr]) -> VecDeque<SocketAddr> {
    let is_like_first = |address: &&SocketAddr| address.is_ipv4() == addresses[0].is_ipv4();
    let (first, other): (Vec<_>, Vec<_>) = addresses.iter().partition(is_like_first);
    let mut order = VecDeque::with_capacity(addresses.len());
    let (mut first, mut other) = (first.into_iter(), other.into_iter());
    loop {
        let pair = [first.next(), other.next()];
        if pair == [None, None] {
            return order;
        }
        for address in pair.into_iter().flatten() {
            if !order.contains(address) {
                order.push_back(*address);
            }
        }
    }
}

/// Starts to connect to `address`. Returns the socket, and whether it is connected already.
fn begin(address: SocketAddr) -> io::Result<(OwnedFd, bool)> {
    let socket = stream_socket(match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    })?;
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok((socket, true)),
        Err(Errno::INPROGRESS) => Ok((socket, false)),
        Err(errno) => Err(errno.into()),
    }
}

/// The result of an attempt.
fn settled(socket: impl AsFd) -> io::Result<()> {
    sockopt::socket_error(&socket)??;
    if is_own_peer(&socket) {
        // Reset it, so that the port is not kept by a connection in TIME_WAIT.
        let _ = close::reset_on_close(&socket);
        return Err(io::Error::new(
            io::ErrorKind::ConnectionRefused,
            "Connection refused (nobody listens there: the connection came back to itself)",
        ));
    }
    // A connection that stays paced is slower, and no less right.
    let _ = avoid_local_pacing(&socket);
    super::keep_alive(&socket)
}

/// Whether a socket is connected to itself. TCP joins two SYNs that cross, even of the same socket
/// (RFC 9293, 3.5), and a client may get the very port that it connects to as its own.
fn is_own_peer(socket: impl AsFd) -> bool {
    let own = rustix::net::getsockname(&socket).ok().and_then(plain);
    let peer = rustix::net::getpeername(&socket).ok().flatten();
    own.is_some() && own == peer.and_then(plain)
}

fn plain(name: SocketAddrAny) -> Option<(IpAddr, u16)> {
    let name = SocketAddr::try_from(name).ok()?;
    Some((name.ip().to_canonical(), name.port()))
}

/// Connects to a Unix socket; `None` if its backlog is full (EAGAIN of connect(2)).
pub(super) fn try_unix(
    path: &Path,
    own_name: Option<&SocketAddrUnix>,
) -> io::Result<Option<OwnedFd>> {
    let address = SocketAddrUnix::new(path)?;
    let socket = stream_socket(AddressFamily::UNIX)?;
    if let Some(own_name) = own_name {
        rustix::net::bind(&socket, own_name)?;
    }
    match rustix::net::connect(&socket, &address) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

pub(crate) fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pitfall_25_a_socket_that_is_its_own_peer_is_refused() {
        for ip in ["127.0.0.1", "::1"] {
            let family = if ip.contains(':') {
                AddressFamily::INET6
            } else {
                AddressFamily::INET
            };
            let socket = stream_socket(family).unwrap();
            let address = SocketAddr::new(ip.parse().unwrap(), 0);
            if rustix::net::bind(&socket, &address).is_err() {
                continue;
            }
            let own = rustix::net::getsockname(&socket).unwrap();
            // The crossing SYNs have met when the call returns.
            let _ = rustix::net::connect(&socket, &own);
            assert!(is_own_peer(&socket), "{own:?}");
            let error = settled(&socket).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        }
    }

    #[test]
    fn families_take_turns_and_no_address_comes_twice() {
        let addresses = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().unwrap()).collect()
        };
        let table: &[(&[&str], &[&str])] = &[
            (&[], &[]),
            (&["1.1.1.1:1"], &["1.1.1.1:1"]),
            (
                &["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1"],
                &["[::1]:1", "1.1.1.1:1", "[::2]:1", "[::3]:1"],
            ),
            (
                &["1.1.1.1:1", "1.1.1.1:1", "[::1]:1"],
                &["1.1.1.1:1", "[::1]:1"],
            ),
        ];
        for (given, wanted) in table {
            assert_eq!(in_turn(&addresses(given)), addresses(wanted), "{given:?}");
        }
    }
}
