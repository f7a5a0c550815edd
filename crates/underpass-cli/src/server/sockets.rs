//! The sockets that are listened on.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::address::Address;
use crate::exit::Failure;
use crate::socket;

/// Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn.
const BACKLOG: i32 = 4096;

/// A socket that is listened on, marked `O_NONBLOCK`.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Removes the path of a Unix socket with itself.
pub(super) struct Path(PathBuf);

impl Drop for Path {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Socket {
    /// Listens at `address`; `option` is where it was given.
    pub(super) fn bind(address: &Address, option: &str) -> Result<(Self, Option<Path>), Failure> {
        let failed = |error| explained(address, option, &error);
        let (socket, path) = match address {
            Address::Host(host) => (bind_tcp(host).map_err(failed)?, None),
            Address::Port(port) => (bind_everywhere(*port).map_err(failed)?, None),
            Address::Unix(path) => {
                socket::remove_stale(path);
                let listener = UnixListener::bind(path).map_err(failed)?;
                (Self::Unix(listener), Some(Path(path.clone())))
            }
        };
        // The standard library's own backlog is too short for a burst.
        let listened = rustix::net::listen(&socket, BACKLOG);
        listened.map_err(|errno| failed(errno.into()))?;
        socket.nonblocking().map_err(failed)?;
        Ok((socket, path))
    }

    pub(super) fn nonblocking(&self) -> io::Result<()> {
        Ok(rustix::io::ioctl_fionbio(self, true)?)
    }

    /// The same socket for another thread.
    pub(super) fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => Self::Tcp(listener.try_clone()?),
            Self::Unix(listener) => Self::Unix(listener.try_clone()?),
        })
    }

    /// The number it is bound to; a Unix socket has none.
    pub(crate) fn number(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// The path it is bound to.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(listener) => {
                let address = listener.local_addr().ok()?;
                address.as_pathname().map(PathBuf::from)
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener) => listener.as_fd(),
        }
    }
}

fn bind_tcp(host: &str) -> io::Result<Socket> {
    let numbers: Vec<_> = host.to_socket_addrs()?.collect();
    TcpListener::bind(numbers.as_slice()).map(Socket::Tcp)
}

/// Both families with one socket, or IPv4 where there is nothing else.
fn bind_everywhere(port: u16) -> io::Result<Socket> {
    let bound = match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        }
        bound => bound,
    };
    bound.map(Socket::Tcp)
}

impl Address {
    /// Fails if this address is one that `sockets` have already.
    pub(super) fn free_of(&self, sockets: &[Socket]) -> Result<(), Failure> {
        let taken = match self {
            Self::Unix(path) => sockets
                .iter()
                .any(|socket| socket.path().as_ref() == Some(path)),
            Self::Port(port) => {
                let number = SocketAddr::from((Ipv6Addr::UNSPECIFIED, *port));
                sockets
                    .iter()
                    .filter_map(Socket::number)
                    .any(|bound| collide(bound, number))
            }
            Self::Host(host) => host.to_socket_addrs().into_iter().flatten().any(|number| {
                sockets
                    .iter()
                    .filter_map(Socket::number)
                    .any(|bound| collide(bound, number))
            }),
        };
        if taken {
            return Err(Failure::usage(format_args!(
                "--metrics {self}: that address is served already; metrics need one of their own"
            )));
        }
        Ok(())
    }
}

/// Whether both cannot be bound at once.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (everywhere || one.ip() == other.ip())
}

fn explained(address: &Address, option: &str, error: &io::Error) -> Failure {
    let hint = match (error.kind(), address) {
        (ErrorKind::AddrInUse, Address::Unix(_)) => {
            format!("; something else is at this path: choose another with {option}")
        }
        (ErrorKind::AddrInUse, _) => {
            format!(
                "; another program listens there: stop it, or choose another port with {option}"
            )
        }
        (ErrorKind::PermissionDenied, Address::Host(_) | Address::Port(_)) => {
            "; ports below 1024 are root's: choose another, or let systemd open it \
             (see packaging)"
                .to_owned()
        }
        _ => String::new(),
    };
    Failure::failed(format_args!("{option} {address}: {error}{hint}"))
}
