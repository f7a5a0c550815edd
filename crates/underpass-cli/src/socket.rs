//! Connecting and accepting, with time limits and interruptible by signals.

use std::io;
use std::net::{TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use underpass::connect::{Peer, keep_alive};
use underpass::witness::{Offer, Witness};
use underpass::{Cancel, await_delivery, close_in_order, reset_on_close};

use crate::address::Address;

/// A refused connection is tried again for this long: the receiver may be starting at this moment.
const PATIENCE: Duration = Duration::from_secs(1);
const RETRY_EVERY: Duration = Duration::from_millis(20);

/// Looks the host name up.
pub(crate) fn resolve(address: &Address) -> io::Result<Peer> {
    Ok(match address {
        Address::Unix(path) => Peer::Unix(path.clone()),
        Address::Tcp(host) => Peer::Tcp(host.to_socket_addrs()?.collect()),
    })
}

/// A connection of two that may both be ours, and what they tell each other beside it.
pub(crate) struct Connection {
    pub(crate) peer: OwnedFd,
    offer: Option<Offer>,
    witness: Option<Witness>,
    /// Whether the end of what the peer sends was meant, once it is known.
    meant: Option<bool>,
}

impl Connection {
    fn new(peer: OwnedFd, offer: Option<Offer>, witness: Option<Witness>) -> io::Result<Self> {
        reset_on_close(&peer)?;
        Ok(Self {
            peer,
            offer,
            witness,
            meant: None,
        })
    }

    /// Whether the end that has come was meant by the peer, or that of a process that went away. None: nobody can tell.
    pub(crate) fn was_meant(
        &mut self,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> io::Result<Option<bool>> {
        if let Some(offer) = self.offer.take() {
            self.witness = offer.taken(&self.peer);
        }
        if let (None, Some(witness)) = (self.meant, &self.witness) {
            self.meant = Some(witness.hear(timeout, Some(cancel))?);
        }
        Ok(self.meant)
    }

    /// Ends the connection of a receiver that has kept everything. Until here, whatever closes it resets it.
    pub(crate) fn keep(self) -> io::Result<()> {
        if let Some(witness) = &self.witness {
            // The peer may have what it wants to know.
            let _ = witness.say();
        }
        close_in_order(&self.peer)
    }

    /// Ends the connection of a sender in good order, now that `bytes`, all there are, were sent, and waits until the peer has
    /// taken them. Until here, and after a failure, whatever closes it resets it: also the kernel, when this process is killed.
    pub(crate) fn end(
        &self,
        bytes: u64,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> io::Result<()> {
        let witness = match &self.offer {
            Some(offer) => offer.await_taken(&self.peer, bytes, timeout, Some(cancel))?,
            None => None,
        };
        if let Some(witness) = &witness {
            witness.say()?;
        }
        close_in_order(&self.peer)?;
        let ended = await_delivery(&self.peer, timeout, Some(cancel)).and_then(|_| match witness {
            Some(witness) => witness.hear(timeout, Some(cancel)),
            None => Ok(true),
        });
        match ended {
            Ok(true) => Ok(()),
            ended => {
                reset_on_close(&self.peer)?;
                Err(ended.err().unwrap_or_else(|| {
                    io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        "the receiver went away before it had kept them",
                    )
                }))
            }
        }
    }
}

/// Connects to whichever address answers first.
pub(crate) fn connect(
    to: &Peer,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<Connection> {
    let begun = Instant::now();
    // Without one, an end is an end.
    let mut offer = match to {
        Peer::Unix(_) => Offer::new().ok(),
        _ => None,
    };
    loop {
        let connected = match (to, &offer) {
            (Peer::Unix(path), Some(offer)) => offer.connect(path, timeout, Some(cancel)),
            _ => underpass::connect::connect(to, timeout, Some(cancel)),
        };
        match connected {
            Err(error) if may_be_starting(&error) && begun.elapsed() < PATIENCE => {
                // With nothing else to wait for this is a pause that a signal can cut short.
                wait(None, Some(RETRY_EVERY), cancel).or_else(|error| match error.kind() {
                    io::ErrorKind::TimedOut => Ok(()),
                    _ => Err(error),
                })?;
            }
            connected => return Connection::new(connected?, offer.take(), None),
        }
    }
}

fn may_be_starting(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

/// Something that one connection can be accepted from.
pub(crate) enum Listener {
    Tcp(TcpListener),
    /// The path is removed again when the listener goes.
    Unix(UnixListener, PathBuf),
}

impl Listener {
    pub(crate) fn bind(at: &Address) -> io::Result<Self> {
        match at {
            Address::Tcp(host) => Ok(Self::Tcp(TcpListener::bind(host)?)),
            Address::Unix(path) => {
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

    /// Waits for a connection, and keeps it alive.
    pub(crate) fn accept(
        &self,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> io::Result<Connection> {
        wait_readable(self.as_fd(), timeout, cancel)?;
        let socket: OwnedFd = match self {
            Self::Tcp(listener) => {
                let (socket, _) = listener.accept()?;
                keep_alive(&socket)?;
                socket.into()
            }
            Self::Unix(listener, _) => listener.accept()?.0.into(),
        };
        let witness = Witness::of(&socket)?;
        Connection::new(socket, None, witness)
    }
}

/// Waits for the first byte of a connection, and leaves it there. `false`: it ended without one.
pub(crate) fn says_something(
    socket: &OwnedFd,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<bool> {
    loop {
        wait_readable(socket.as_fd(), timeout, cancel)?;
        match peek(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            peeked => return peeked,
        }
    }
}

/// Whether it was the peer that went away.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

/// Whether there is a byte, as opposed to the end, in a socket that is readable.
pub(crate) fn peek(socket: impl AsFd) -> io::Result<bool> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (count, _) = rustix::net::recv(socket, &mut [0_u8; 1][..], flags)?;
    Ok(count > 0)
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
