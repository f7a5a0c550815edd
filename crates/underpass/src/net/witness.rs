//! Tells whether the end of a Unix stream was intended, by a second connection beside it, between
//! two programs that both use this module.
//!
//! A Unix socket has no reset: a process that is killed ends its stream just like one that is done.
//! So the side that connects uses an [`Offer`]: it gives its socket a name in the abstract
//! namespace (unix(7)), and listens at a second name derived from the first. The side that accepts
//! sees the name, and connects to the second one ([`Witness::of`]) before anything else. On this
//! second connection each side sends one word: the sender that it has sent everything, the receiver
//! that it has kept everything. A process that is killed closes it without a word.
//!
//! Other programs do not look at the name of their peer, so they are not affected. Abstract names
//! do not work between network namespaces. In both cases an end counts as intended, as it would
//! without this module.
//!
//! ```
//! use std::io::Read;
//! use std::os::unix::net::{UnixListener, UnixStream};
//! use underpass::witness::{Offer, Witness};
//!
//! let dir = std::env::temp_dir().join(format!("underpass-doc-{}", std::process::id()));
//! let listener = UnixListener::bind(&dir)?;
//! let offer = Offer::new()?;
//! let sender = offer.connect(&dir, None, None)?;
//! let (mut receiver, _) = listener.accept()?;
//! let of_receiver = Witness::of(&receiver)?.expect("the peer has made an offer");
//! let of_sender = offer.taken(&sender).expect("and it was taken");
//!
//! // All was sent, and it was nothing.
//! of_sender.say()?;
//! drop(sender);
//! assert_eq!(receiver.read_to_end(&mut Vec::new())?, 0);
//! assert!(of_receiver.hear(None, None)?);
//! // The receiver goes without keeping it.
//! drop(of_receiver);
//! assert!(!of_sender.hear(None, None)?);
//! # std::fs::remove_file(&dir)?;
//! # Ok::<(), std::io::Error>(())
//! ```

use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrUnix};

use crate::cancel::Cancel;
use crate::net::connect::{Limits, connect_unix, stream_socket};
use crate::sys::{sockopt, tcp};

/// The prefix of the names of sockets that make an offer.
const PREFIX: &[u8] = b"underpass-";
/// The suffix that turns such a name into the name that is listened at.
const SUFFIX: &[u8] = b"-witness";

/// How long to wait for a peer to which nothing was sent, since it may not have accepted the
/// connection yet.
const GRACE: Duration = Duration::from_secs(1);

/// The offer, made by the side that connects.
#[derive(Debug)]
pub struct Offer {
    name: Vec<u8>,
    listener: OwnedFd,
}

/// The connection beside a Unix stream.
#[derive(Debug)]
pub struct Witness(OwnedFd);

impl Offer {
    /// Starts to listen for a peer that uses this module too.
    ///
    /// # Errors
    ///
    /// The process is out of descriptors.
    pub fn new() -> io::Result<Self> {
        let random = RandomState::new().hash_one(std::process::id());
        let name = [
            PREFIX,
            format!("{}-{random:x}", std::process::id()).as_bytes(),
        ]
        .concat();
        let listener = stream_socket(AddressFamily::UNIX)?;
        rustix::net::bind(&listener, &listening(&name)?)?;
        rustix::net::listen(&listener, 8)?;
        Ok(Self { name, listener })
    }

    /// Connects to the Unix socket at `path`, as [`connect`](crate::net::connect::connect()) does.
    ///
    /// # Errors
    ///
    /// As for [`connect`](crate::net::connect::connect()).
    pub fn connect(
        &self,
        path: &Path,
        timeout: Option<Duration>,
        cancel: Option<&Cancel>,
    ) -> io::Result<OwnedFd> {
        let own = SocketAddrUnix::new_abstract_name(&self.name)?;
        connect_unix(path, Some(&own), &Limits::new(timeout, cancel))
    }

    /// The witness, if the peer that accepted `stream` has taken the offer. It does so before it
    /// reads or sends a byte.
    pub fn taken(&self, stream: impl AsFd) -> Option<Witness> {
        let peer = sockopt::peer(stream.as_fd()).ok()?;
        loop {
            let flags = rustix::net::SocketFlags::CLOEXEC | rustix::net::SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&self.listener, flags) {
                Err(Errno::INTR | Errno::CONNABORTED) => continue,
                accepted => accepted.ok()?,
            };
            // Any process of this machine can connect to an abstract name.
            if sockopt::peer(socket.as_fd()) == Ok(peer) {
                return Some(Witness(socket));
            }
        }
    }

    /// As [`taken`](Self::taken), for the sender of `bytes`: waits until the peer has taken the
    /// offer, or has read everything without taking it, and so does not use this module. What the
    /// peer sends on the stream meanwhile is discarded.
    ///
    /// # Errors
    ///
    /// `ConnectionReset` if the peer went away with bytes unread; `TimedOut` when the peer reads
    /// nothing for as long as `idle`, and `Interrupted` when cancelled.
    pub fn await_taken(
        &self,
        stream: impl AsFd,
        bytes: u64,
        idle: Option<Duration>,
        cancel: Option<&Cancel>,
    ) -> io::Result<Option<Witness>> {
        let stream = stream.as_fd();
        let (mut since, mut before) = (Instant::now(), u64::MAX);
        let grace = idle.map_or(GRACE, |idle| idle.min(GRACE));
        loop {
            hear_nothing(stream)?;
            let untaken = tcp::untaken(stream)?;
            if untaken < before {
                (since, before) = (Instant::now(), untaken);
            }
            let knows_of_none = match bytes {
                0 => since.elapsed() >= grace,
                _ => untaken == 0,
            };
            let has_gone = is_closed(stream)?;
            if let Some(witness) = self.taken(stream) {
                return Ok(Some(witness));
            }
            if knows_of_none || has_gone {
                return Ok(None);
            }
            if idle.is_some_and(|idle| since.elapsed() >= idle) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let pause = Some(Duration::from_millis(10));
            match wait(self.listener.as_fd(), pause, cancel) {
                Err(error) if error.kind() != io::ErrorKind::TimedOut => return Err(error),
                _ => {}
            }
        }
    }
}

impl Witness {
    /// For the side that accepted `stream`: takes the peer's offer, if it made one. Call it before
    /// anything is read or sent.
    ///
    /// # Errors
    /// `ConnectionReset`: there was an offer, and the peer is gone.
    pub fn of(stream: impl AsFd) -> io::Result<Option<Self>> {
        let stream = stream.as_fd();
        let Some(name) = offered(stream) else {
            return Ok(None);
        };
        let socket = stream_socket(AddressFamily::UNIX)?;
        let address = listening(&name)?;
        // The error of a name at which nobody listens: the peer is in another network namespace, or
        // is gone.
        match rustix::net::connect(&socket, &address) {
            Ok(()) if sockopt::peer(socket.as_fd())? == sockopt::peer(stream)? => {
                Ok(Some(Self(socket)))
            }
            Err(_) if is_closed(stream)? => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Ok(None),
        }
    }

    /// Tells the peer that everything was sent, or that everything was kept.
    ///
    /// # Errors
    /// The peer is gone.
    pub fn say(&self) -> io::Result<()> {
        rustix::net::send(&self.0, b"!", SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the peer's word. `false` if it closed without one.
    ///
    /// # Errors
    /// `TimedOut` after `timeout`, and `Interrupted` when cancelled.
    pub fn hear(&self, timeout: Option<Duration>, cancel: Option<&Cancel>) -> io::Result<bool> {
        loop {
            match self.try_hear() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                heard => return heard,
            }
            wait(self.0.as_fd(), timeout, cancel)?;
        }
    }

    /// As [`hear`](Self::hear), on a tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be waited for.
    ///
    /// # Panics
    /// Outside a tokio runtime with its I/O driver enabled.
    ///
    /// # Cancel safety
    /// Cancel safe.
    #[cfg(feature = "tokio")]
    pub async fn hear_async(&self) -> io::Result<bool> {
        let registered = crate::sys::reactor::register(self.0.try_clone()?)?;
        loop {
            let mut ready = registered.readable().await?;
            match self.try_hear() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                heard => return heard,
            }
        }
    }

    fn try_hear(&self) -> io::Result<bool> {
        match rustix::net::recv(&self.0, &mut [0_u8; 1][..], RecvFlags::DONTWAIT) {
            Ok((count, _)) => Ok(count > 0),
            // The peer is gone and has not read what was sent to it.
            Err(Errno::CONNRESET) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The name of `stream`'s peer, if it makes an offer.
fn offered(stream: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let peer = rustix::net::getpeername(stream).ok().flatten()?;
    let peer = SocketAddrUnix::try_from(peer).ok()?;
    let name = peer.abstract_name()?;
    name.starts_with(PREFIX).then(|| name.to_vec())
}

/// The address at which the offer of this name is listened for.
fn listening(name: &[u8]) -> io::Result<SocketAddrUnix> {
    Ok(SocketAddrUnix::new_abstract_name(&[name, SUFFIX].concat())?)
}

/// How many bytes of what a peer says are left in the socket.
const STAYS: u64 = 64;

/// Discards what the peer sends, up to the size of a socket's buffer: a peer that has to wait until
/// it can send more may not read either. A few bytes stay, since they may say why it goes away;
/// however they came, they leave room in its buffer.
fn hear_nothing(stream: BorrowedFd<'_>) -> io::Result<()> {
    if rustix::io::ioctl_fionread(stream)? <= STAYS {
        return Ok(());
    }
    let mut scratch = [0_u8; 4096];
    for _ in 0..64 {
        match rustix::net::recv(stream, &mut scratch[..], RecvFlags::DONTWAIT) {
            Ok((1.., _)) | Err(Errno::INTR) => {}
            Ok(_) | Err(Errno::AGAIN) => break,
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Whether the peer has closed its socket, and not only ended its sending side.
fn is_closed(stream: BorrowedFd<'_>) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(stream, PollFlags::empty())];
    let none = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    rustix::event::poll(&mut fds, Some(&none))?;
    Ok(fds[0].revents().intersects(PollFlags::HUP | PollFlags::ERR))
}

fn wait(
    readable: BorrowedFd<'_>,
    timeout: Option<Duration>,
    cancel: Option<&Cancel>,
) -> io::Result<()> {
    Limits::new(timeout, cancel).wait(&[(readable, PollFlags::IN)], None)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    fn pair() -> (Offer, OwnedFd, UnixStream) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let offer = Offer::new().unwrap();
        let near = offer.connect(&path, None, None).unwrap();
        (offer, near, listener.accept().unwrap().0)
    }

    #[test]
    fn one_who_is_gone_before_it_is_asked_is_known_by_its_name() {
        let (offer, near, far) = pair();
        drop((offer, near));
        let error = Witness::of(&far).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[test]
    fn where_its_name_leads_nowhere_it_is_a_plain_peer() {
        let (offer, _near, far) = pair();
        drop(offer);
        assert!(Witness::of(&far).unwrap().is_none());
    }

    #[test]
    fn a_plain_peer_is_known_when_it_has_read_all() {
        let (offer, near, far) = pair();
        rustix::io::write(&near, b"x").unwrap();
        let reader = std::thread::spawn(move || {
            rustix::io::read(&far, &mut [0; 1]).unwrap();
            far
        });
        assert!(offer.await_taken(&near, 1, None, None).unwrap().is_none());
        reader.join().unwrap();
    }

    #[test]
    fn who_was_not_connected_to_cannot_take_an_offer() {
        let (offer, near, far) = pair();
        // Stands for another process of this machine.
        let name = String::from_utf8([&offer.name, SUFFIX].concat()).unwrap();
        let script = "import socket,sys; s = socket.socket(socket.AF_UNIX); s.connect(b'\\0' + sys.argv[1].encode())";
        let mut command = std::process::Command::new("python3");
        match command.args(["-c", script, &name]).status() {
            Ok(status) if status.success() => assert!(offer.taken(&near).is_none()),
            _ => _ = underpass_testing::needs::tool("python3"),
        }
        let taken = Witness::of(&far).unwrap();
        assert!(taken.is_some() && offer.taken(&near).is_some());
    }
}
