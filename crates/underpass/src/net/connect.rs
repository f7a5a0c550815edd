//! Connects to the address of a peer that answers first, within a time limit, and never to the
//! connecting socket itself.
//!
//! No call blocks in connect(2). Several addresses are tried as in RFC 8305 ("happy eyeballs"): one
//! after the other, with alternating families, each 250 ms after the one before. So an address that
//! never answers costs no more than 250 ms. A Unix socket whose backlog is full is tried again
//! until it has room.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{SocketAddrUnix, sockopt};

use crate::cancel::Cancel;
use crate::timeout::bounded;
pub(crate) use race::stream_socket;
use race::{Next, Race, try_unix};

mod race;
#[cfg(feature = "tokio")]
mod tokio;

#[cfg(feature = "tokio")]
pub use self::tokio::connect_async;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Peer {
    /// The addresses of one TCP peer, in the order to try them.
    Tcp(Vec<SocketAddr>),
    /// The path of a Unix stream socket.
    Unix(PathBuf),
}

/// First and longest pause between attempts at a Unix socket with a full backlog. The kernel has no
/// event for room in a backlog.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(20);

/// Connects, and returns a blocking socket. TCP connections are [kept alive](keep_alive).
///
/// # Errors
/// The error of the last address that failed, but `ConnectionRefused` if any address refused. A
/// connection of a socket to itself counts as refused; this can happen with a closed port in the
/// range of clients' ports. `TimedOut` after `timeout`, and `Interrupted` when cancelled.
///
/// ```
/// use std::net::TcpListener;
/// use underpass::connect::{Peer, connect};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let peer = Peer::Tcp(vec![listener.local_addr()?]);
/// let socket = connect(&peer, None, None)?;
/// # drop(socket);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn connect(
    to: &Peer,
    timeout: Option<Duration>,
    cancel: Option<&Cancel>,
) -> io::Result<OwnedFd> {
    let limits = Limits::new(timeout, cancel);
    match to {
        Peer::Unix(path) => connect_unix(path, None, &limits),
        Peer::Tcp(addresses) => blocking(limits.race(addresses)?),
    }
}

/// Connects to a Unix socket. The connecting socket is bound to `own`, if given.
pub(crate) fn connect_unix(
    path: &Path,
    own_name: Option<&SocketAddrUnix>,
    limits: &Limits<'_>,
) -> io::Result<OwnedFd> {
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(socket) = try_unix(path, own_name)? {
            return blocking(socket);
        }
        limits.wait(&[], Instant::now().checked_add(pause))?;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn blocking(socket: OwnedFd) -> io::Result<OwnedFd> {
    rustix::io::ioctl_fionbio(&socket, false)?;
    Ok(socket)
}

/// Enables TCP keep-alive, to notice a peer whose machine is gone. After a minute of silence the
/// peer is probed six times in another minute; then the connection fails (tcp(7)). Accepted
/// connections inherit the setting from their listener.
///
/// # Errors
/// `socket` is not a TCP socket.
pub fn keep_alive(socket: impl AsFd) -> io::Result<()> {
    sockopt::set_tcp_keepidle(&socket, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(&socket, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(&socket, 6)?;
    sockopt::set_socket_keepalive(&socket, true)?;
    Ok(())
}

/// The limits of a wait.
pub(crate) struct Limits<'a> {
    deadline: Option<Instant>,
    cancel: Option<&'a Cancel>,
}

impl<'a> Limits<'a> {
    pub(crate) fn new(timeout: Option<Duration>, cancel: Option<&'a Cancel>) -> Self {
        let deadline = bounded(timeout).map(|timeout| Instant::now() + timeout);
        Self { deadline, cancel }
    }

    fn race(&self, addresses: &[SocketAddr]) -> io::Result<OwnedFd> {
        let mut race = Race::new(addresses);
        loop {
            match race.advance(Instant::now(), Ok) {
                Next::Won(socket) => return Ok(socket),
                Next::Lost(error) => return Err(error),
                Next::Wait(until) => {
                    let sockets = race.sockets().iter();
                    let awaited: Vec<_> = sockets.map(|it| (it.as_fd(), PollFlags::OUT)).collect();
                    if let Some(ready) = self.wait(&awaited, until)?
                        && let Some(socket) = race.answered(ready)
                    {
                        return Ok(socket);
                    }
                }
            }
        }
    }

    /// Waits until one of `awaited` is ready, and returns its index; `None` when it is time to go
    /// on without.
    pub(crate) fn wait(
        &self,
        awaited: &[(BorrowedFd<'_>, PollFlags)],
        until: Option<Instant>,
    ) -> io::Result<Option<usize>> {
        let mut fds: Vec<_> = awaited
            .iter()
            .map(|(fd, events)| PollFd::from_borrowed_fd(*fd, *events))
            .collect();
        if let Some(cancel) = self.cancel {
            fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
        }
        let alarm = until.into_iter().chain(self.deadline).min();
        loop {
            let left = alarm.map(|alarm| alarm.saturating_duration_since(Instant::now()));
            let left = left.and_then(|left| Timespec::try_from(left).ok());
            match rustix::event::poll(&mut fds, left.as_ref()) {
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
                Ok(_) if self.cancel.is_some_and(Cancel::is_cancelled) => {
                    return Err(io::ErrorKind::Interrupted.into());
                }
                Ok(0) if self.deadline.is_some_and(|end| end <= Instant::now()) => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Ok(_) => return Ok(fds.iter().position(|fd| !fd.revents().is_empty())),
            }
        }
    }
}

#[cfg(test)]
mod tests;
