//! Connections of commands with one peer: connecting and accepting, with timeouts. Signals end the
//! waits.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::RecvFlags;
use underpass::connect::{Peer, keep_alive};
use underpass::witness::{Offer, Witness};
use underpass::{
    Cancel, Layer, LayerError, avoid_local_pacing, await_delivery_hearing, close_in_order,
    close_lingering, reset_on_close,
};

use super::files::PEEKED;
use super::listen::{self, ListeningSocket, SocketPath};
use super::wait::{wait, wait_readable};
use crate::values::{Address, SocketAccess};

/// How long a refused connection is tried again: the receiver may be starting.
const PATIENCE: Duration = Duration::from_secs(1);

const RETRY_EVERY: Duration = Duration::from_millis(20);

/// The same while someone is waited for, who may come in an hour.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// How long, and for whom, someone is waited for who does not listen yet.
#[derive(Clone, Copy)]
pub(crate) struct Waiting<'a> {
    /// What `--wait` says; `None` without it.
    pub(crate) wait: Option<Duration>,
    /// Called once, when the waiting begins to be noticed.
    pub(crate) notice: &'a dyn Fn(),
}

/// Looks the host name up. A port alone means this machine.
pub(crate) fn resolve(address: &Address) -> io::Result<Peer> {
    Ok(match address {
        Address::Unix(path) => Peer::Unix(path.clone()),
        Address::Port(port) => Peer::Tcp(vec![
            (Ipv4Addr::LOCALHOST, *port).into(),
            (Ipv6Addr::LOCALHOST, *port).into(),
        ]),
        Address::Tcp(host) => Peer::Tcp(listen::look_up(host)?),
        Address::Tls(tls) => return resolve(tls.below()),
    })
}

/// A connection to one peer. Between two processes of underpass at a Unix socket there is a second
/// connection, the witness, which says whether an end was meant.
pub(crate) struct PeerConnection {
    pub(crate) peer: OwnedFd,
    offer: Option<Offer>,
    witness: Option<Witness>,
    /// Whether the peer meant to end its data; `None` until that is known.
    meant: Option<bool>,
    /// The TLS on it, after the handshake.
    layer: Option<Arc<dyn Layer>>,
}

impl PeerConnection {
    fn new(peer: OwnedFd, offer: Option<Offer>, witness: Option<Witness>) -> io::Result<Self> {
        reset_on_close(&peer)?;
        Ok(Self {
            peer,
            offer,
            witness,
            meant: None,
            layer: None,
        })
    }

    /// Puts TLS on it, by a handshake. The socket is marked `O_NONBLOCK` from then on.
    pub(crate) fn begin_tls(
        mut self,
        cancel: &Cancel,
        shake_hands: impl FnOnce(BorrowedFd<'_>) -> io::Result<Arc<dyn Layer>>,
    ) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&self.peer, true)?;
        match shake_hands(self.peer.as_fd()) {
            Ok(layer) => {
                self.layer = Some(layer);
                Ok(self)
            }
            Err(error) => {
                // The alert that says why is on its way. A reset would overtake it.
                close_lingering(None, &self.peer, Some(cancel));
                Err(error)
            }
        }
    }

    /// The TLS on it, if any.
    pub(crate) fn layer(&self) -> Option<&Arc<dyn Layer>> {
        self.layer.as_ref()
    }

    /// After an error of the TLS on it: a peer that broke its rules has been sent an alert, which a
    /// reset could overtake.
    pub(crate) fn let_hear(&self, error: Option<LayerError>, cancel: &Cancel) {
        if let Some(LayerError::Broken(_)) = error {
            close_lingering(self.layer.as_ref(), &self.peer, Some(cancel));
        }
    }

    /// Reads one byte, if one comes before the end.
    pub(crate) fn read_one(&self) -> io::Result<bool> {
        if let Some(layer) = &self.layer {
            return Ok(layer.receive(self.peer.as_fd(), &mut [0])? > 0);
        }
        let flags = RecvFlags::DONTWAIT;
        let (count, _) = rustix::net::recv(&self.peer, &mut [0_u8; 1][..], flags)?;
        Ok(count > 0)
    }

    /// Whether the peer meant the end that was reached, or was killed. `None` if that cannot be
    /// known.
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

    /// Ends the connection in an orderly way, after the receiver has kept all data. Closing it
    /// earlier, in any way, resets it.
    pub(crate) fn keep(self, timeout: Option<Duration>, cancel: &Cancel) -> io::Result<()> {
        if let Some(witness) = &self.witness {
            // The peer may be gone already.
            let _ = witness.say();
        }
        if let Some(layer) = &self.layer {
            match close_layer(&**layer, self.peer.as_fd(), timeout, cancel) {
                // It has sent all, and may be gone already.
                Err(error) if !is_gone(&error) => return Err(error),
                _ => {}
            }
        }
        close_in_order(&self.peer)
    }

    /// Ends the connection in an orderly way after all `bytes` were sent, and waits until the peer
    /// has taken them. Closing it earlier, or after a failure, resets it, even if the kernel closes
    /// it because this process was killed. What the peer says first is added to `heard`.
    pub(crate) fn end(
        &self,
        bytes: u64,
        heard: &mut Vec<u8>,
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
        let (layer, cancel) = (self.layer.as_ref(), Some(cancel));
        let delivered = await_delivery_hearing(layer, &self.peer, timeout, cancel, heard);
        let ended = delivered.and_then(|_| match witness {
            Some(witness) => witness.hear(timeout, cancel),
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

/// Says the end (close_notify), as soon as there is room for it.
fn close_layer(
    layer: &dyn Layer,
    socket: BorrowedFd<'_>,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<()> {
    loop {
        match layer.close(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait(&[socket], PollFlags::OUT, timeout, cancel)?;
            }
            closed => return closed,
        }
    }
}

/// Connects to whichever address answers first.
pub(crate) fn connect(
    to: &Peer,
    waiting: Waiting<'_>,
    timeout: Option<Duration>,
    cancel: &Cancel,
) -> io::Result<PeerConnection> {
    let begun = Instant::now();
    let lasts = waiting.wait.unwrap_or(PATIENCE);
    let mut is_noticed = waiting.wait.is_none();
    // Without a witness, every end counts as intended.
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
            Err(error) if waiting.is_worth_it(&error) && begun.elapsed() < lasts => {
                let is_late = begun.elapsed() >= PATIENCE;
                if is_late && !std::mem::replace(&mut is_noticed, true) {
                    (waiting.notice)();
                }
                let pause = if is_late { LOOK_EVERY } else { RETRY_EVERY };
                // A pause that a signal can interrupt.
                wait(&[], PollFlags::empty(), Some(pause), cancel).or_else(|error| match error
                    .kind()
                {
                    io::ErrorKind::TimedOut => Ok(()),
                    _ => Err(error),
                })?;
            }
            connected => return PeerConnection::new(connected?, offer.take(), None),
        }
    }
}

impl Waiting<'_> {
    /// Whether someone who was not reached may be reached later: because the receiver is starting,
    /// or, where that is waited for, its machine.
    fn is_worth_it(&self, error: &io::Error) -> bool {
        use io::ErrorKind::{
            ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut,
        };
        match error.kind() {
            ConnectionRefused | NotFound => true,
            // A timeout of ours has no error number.
            HostUnreachable | NetworkUnreachable => self.wait.is_some(),
            TimedOut => self.wait.is_some() && error.raw_os_error().is_some(),
            _ => false,
        }
    }
}

/// Accepts one connection at an address.
pub(crate) struct PeerListener {
    /// One socket for each IP address of a host name.
    pub(crate) sockets: Vec<ListeningSocket>,
    /// The address to connect to, with the port that was chosen.
    address: Address,
    /// Removes the path of a Unix socket.
    _path: Option<SocketPath>,
}

impl PeerListener {
    pub(crate) fn bind(at: &Address) -> io::Result<Self> {
        let (sockets, path) = listen::bind(at, &[], SocketAccess::default())?;
        Ok(Self {
            address: bound_address(at, &sockets),
            sockets,
            _path: path,
        })
    }

    /// The address to connect to, with the port that was chosen.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// The address that other machines reach, if it listens on every address of this one.
    pub(crate) fn seen_from_elsewhere(&self) -> Option<Address> {
        let bound = self.sockets.first()?.ip_address()?;
        let ip = bound
            .ip()
            .is_unspecified()
            .then(listen::outward)
            .flatten()?;
        let place = SocketAddr::new(ip, bound.port());
        Some(Address::Tcp(place.to_string()))
    }

    /// Waits for a connection. TCP keep-alive is on for it.
    pub(crate) fn accept(
        &self,
        timeout: Option<Duration>,
        cancel: &Cancel,
    ) -> io::Result<PeerConnection> {
        let fds: Vec<_> = self.sockets.iter().map(AsFd::as_fd).collect();
        loop {
            wait(&fds, PollFlags::IN, timeout, cancel)?;
            if let Some(socket) = self.accept_ready()? {
                let witness = Witness::of(&socket)?;
                return PeerConnection::new(socket, None, witness);
            }
        }
    }

    /// Accepts a waiting connection, if there is one. It may have gone since the poll.
    fn accept_ready(&self) -> io::Result<Option<OwnedFd>> {
        for socket in &self.sockets {
            let accepted = match socket {
                ListeningSocket::Tcp(listener) | ListeningSocket::Tls(listener, _) => {
                    let accepted = unless_blocked(listener.accept())?;
                    accepted.map(|(socket, _)| {
                        // A connection that stays paced is slower, and no less right.
                        let _ = avoid_local_pacing(&socket);
                        keep_alive(&socket).map(|()| socket.into())
                    })
                }
                ListeningSocket::Unix(listener) => {
                    let accepted = unless_blocked(listener.accept())?;
                    accepted.map(|(socket, _)| Ok(socket.into()))
                }
            };
            if let Some(socket) = accepted {
                return socket.map(Some);
            }
        }
        Ok(None)
    }
}

/// The address with the port that was chosen. If there is a single socket, its IP address replaces
/// the host name.
fn bound_address(at: &Address, sockets: &[ListeningSocket]) -> Address {
    let bound = sockets.first().and_then(ListeningSocket::ip_address);
    match (at, bound) {
        (Address::Tcp(host), Some(bound)) => Address::Tcp(match host.rsplit_once(':') {
            Some((name, _)) if sockets.len() > 1 => format!("{name}:{}", bound.port()),
            _ => bound.to_string(),
        }),
        (Address::Port(_), Some(bound)) => Address::Port(bound.port()),
        (Address::Tls(tls), Some(_)) => {
            bound_address(tls.below(), sockets).with_tls(tls.fingerprint)
        }
        _ => at.clone(),
    }
}

fn unless_blocked<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        result => result.map(Some),
    }
}

/// Waits for the first byte of a connection, and leaves it in the socket. Returns false if the
/// connection ended without one.
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

/// Whether the error means that the peer is gone.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    ) || LayerError::of(error) == Some(LayerError::Cut)
}

/// The first bytes that have come, which stay in the socket.
pub(crate) fn peeked(socket: impl AsFd) -> Vec<u8> {
    let mut beginning = vec![0; PEEKED];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let count = rustix::net::recv(socket, &mut beginning[..], flags).map_or(0, |(count, _)| count);
    beginning.truncate(count);
    beginning
}

/// Whether a readable socket has a byte to read, and not its end.
pub(crate) fn peek(socket: impl AsFd) -> io::Result<bool> {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (count, _) = rustix::net::recv(socket, &mut [0_u8; 1][..], flags)?;
    Ok(count > 0)
}
