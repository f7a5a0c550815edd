//! The sockets that are listened on.

use std::io::{self, ErrorKind};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use super::address::Address;
use crate::exit::Failure;
use crate::io::listen::{self, SocketPath};

/// A socket that is listened on, marked `O_NONBLOCK`.
pub(crate) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    /// Listens at `address`, at all numbers that it has; `option` is where it was given.
    pub(super) fn bind(
        address: &Address,
        option: &str,
    ) -> Result<(Vec<Self>, Option<SocketPath>), Failure> {
        let failed = |error| explained(address, option, &error);
        let tcp = |listeners: Vec<_>| listeners.into_iter().map(Self::Tcp).collect();
        let (sockets, path): (Vec<_>, _) = match address {
            Address::Host(host) => (listen::tcp(host).map(tcp).map_err(failed)?, None),
            Address::Port(port) => (
                vec![listen::everywhere(*port).map(Self::Tcp).map_err(failed)?],
                None,
            ),
            Address::Unix(path) => {
                let (socket, path) = listen::unix(path).map_err(failed)?;
                (vec![Self::Unix(socket)], Some(path))
            }
        };
        for socket in &sockets {
            socket.nonblocking().map_err(failed)?;
        }
        Ok((sockets, path))
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
            Self::Host(host) => listen::look_up(host).into_iter().flatten().any(|number| {
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
