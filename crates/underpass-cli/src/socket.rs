//! Connecting and accepting, with time limits and interruptible by signals.

use std::io;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, sockopt};
use underpass::Cancel;

use crate::address::Address;

/// A refused connection is tried again for this long: the receiver may be starting at this moment.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// An address whose name is resolved.
#[derive(Clone, Debug)]
pub(crate) enum Resolved {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

/// Looks the host name up.
pub(crate) fn resolve(address: &Address) -> io::Result<Resolved> {
    Ok(match address {
        Address::Unix(path) => Resolved::Unix(path.clone()),
        Address::Tcp(host) => Resolved::Tcp(host.to_socket_addrs()?.collect()),
    })
}

/// Connects to the first of the addresses that answers.
pub(crate) fn connect(
    to: &Resolved,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<OwnedFd> {
    let begun = Instant::now();
    loop {
        match connect_once(to, timeout, cancel) {
            Err(error) if may_be_starting(&error) && begun.elapsed() < PATIENCE => {
                // With nothing else to wait for this is a pause that a signal can cut short.
                wait(None, Some(RETRY_EVERY), cancel).or_else(|error| match error.kind() {
                    io::ErrorKind::TimedOut => Ok(()),
                    _ => Err(error),
                })?;
            }
            done => return done,
        }
    }
}

fn may_be_starting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

fn connect_once(to: &Resolved, timeout: Option<Duration>, cancel: &Cancel) -> io::Result<OwnedFd> {
    let addresses = match to {
        Resolved::Unix(path) => {
            let socket = stream_socket(AddressFamily::UNIX)?;
            rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
            return Ok(socket);
        }
        Resolved::Tcp(addresses) => addresses,
    };
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match connect_tcp(address, timeout, cancel) {
            Err(error) if !cancel.is_cancelled() => last = error,
            done => return done,
        }
    }
    Err(last)
}

fn connect_tcp(
    address: &SocketAddr,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let socket = stream_socket(family)?;
    rustix::io::ioctl_fionbio(&socket, true)?;
    match rustix::net::connect(&socket, address) {
        Ok(()) => {}
        Err(Errno::INPROGRESS) => {
            wait(Some((socket.as_fd(), PollFlags::OUT)), timeout, cancel)?;
            sockopt::socket_error(&socket)??;
        }
        Err(errno) => return Err(errno.into()),
    }
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

fn stream_socket(family: AddressFamily) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socket_with(
        family,
        SocketType::STREAM,
        flags,
        None,
    )?)
}

/// Something that one connection can be accepted from.
pub(crate) enum Listener {
    Tcp(TcpListener),
    /// The path is removed again when the listener goes.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(crate) fn bind(at: &Resolved) -> io::Result<Self> {
        match at {
            Resolved::Tcp(addresses) => Ok(Self::Tcp(TcpListener::bind(addresses.as_slice())?)),
            Resolved::Unix(path) => {
                remove_stale(path);
                Ok(Self::Unix(UnixListener::bind(path)?, path.clone()))
            }
        }
    }

    /// The address to connect to, with the port that was chosen.
    pub(crate) fn address(&self) -> Address {
        match self {
            Self::Unix(_, path) => Address::Unix(path.clone()),
            Self::Tcp(listener) => {
                let bound = listener.local_addr().map(|address| address.to_string());
                Address::Tcp(bound.unwrap_or_default())
            }
        }
    }

    /// Waits for a connection.
    pub(crate) fn accept(&self, timeout: Option<Duration>, cancel: &Cancel) -> io::Result<OwnedFd> {
        match self {
            Self::Tcp(listener) => {
                wait_readable(listener.as_fd(), timeout, cancel)?;
                Ok(listener.accept()?.0.into())
            }
            Self::Unix(listener, _) => {
                wait_readable(listener.as_fd(), timeout, cancel)?;
                Ok(listener.accept()?.0.into())
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(listener) => listener.as_fd(),
            Self::Unix(listener, _) => listener.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket file that nobody listens on any more would keep its address in use for ever.
pub(crate) fn remove_stale(path: &Path) {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|m| m.file_type().is_socket());
    // By a socket for messages: where somebody listens for streams it is refused for its type (EPROTOTYPE, unix(7)), and nobody
    // is left with a connection that nobody meant.
    let refused = |error: io::Error| error.kind() == io::ErrorKind::ConnectionRefused;
    let asked = UnixDatagram::unbound().and_then(|socket| socket.connect(path));
    if is_socket && asked.is_err_and(refused) {
        let _ = std::fs::remove_file(path);
    }
}

/// Closes a TCP connection by a reset, so that the peer cannot take what it got for the whole.
pub(crate) fn abort(socket: OwnedFd) {
    let _ = sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
    drop(socket);
}

/// Waits until `fd` is readable. Fails with `TimedOut` after `timeout`, and with `Interrupted` when cancelled.
pub(crate) fn wait_readable(
    fd: BorrowedFd<'_>,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<()> {
    wait(Some((fd, PollFlags::IN)), timeout, cancel)
}

fn wait(
    awaited: Option<(BorrowedFd<'_>, PollFlags)>,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    let mut fds = vec![PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN)];
    fds.extend(awaited.map(|(fd, events)| PollFd::from_borrowed_fd(fd, events)));
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(_) if cancel.is_cancelled() => return Err(io::ErrorKind::Interrupted.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}
