//! Waits until the peer has taken what was sent. A successful write(2) only means that the kernel
//! has the bytes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::cancel::Cancel;
use crate::layer::{CallError, Layer};
use crate::net::discard::{Heard, keep_first, listen};
use crate::sys::tcp;
use crate::timeout::bounded;
use crate::wire::Wire;

/// How long to wait for a peer that has everything to close the connection.
const GRACE: Duration = Duration::from_secs(1);

/// poll(2) has no event for an acknowledgement, so the queue is polled with growing pauses.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LAST_PAUSE: Duration = Duration::from_millis(100);

/// How it is known that the peer took the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// The peer closed its side after ours, without a reset.
    Closed,
    /// The peer has everything and keeps the connection open: over TCP its kernel acknowledged all,
    /// over a Unix socket its process read all.
    Taken,
}

/// Ends the sending side of `socket`, and waits until the peer has taken what was sent.
///
/// What the peer sends meanwhile is read and discarded.
///
/// # Errors
/// `ConnectionReset` or `BrokenPipe` if the peer went away before it took everything;
/// `TimedOut` after `idle` without progress; the error number `ECANCELED` when cancelled.
///
/// ```
/// use std::io::{Read, Write};
/// use std::os::unix::net::UnixStream;
/// use underpass::{Delivery, await_delivery};
///
/// let (mut near, mut far) = UnixStream::pair()?;
/// near.write_all(b"all of it")?;
/// let reader = std::thread::spawn(move || far.read_to_end(&mut Vec::new()));
/// assert_eq!(await_delivery(&near, None, None)?, Delivery::Closed);
/// # reader.join().unwrap()?;
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn await_delivery(
    socket: impl AsFd,
    idle: Option<Duration>,
    cancel: Option<&Cancel>,
) -> std::io::Result<Delivery> {
    deliver(socket.as_fd(), Wire::Plain, bounded(idle), cancel)
}

/// As [`await_delivery`], on a socket with TLS: says the end through `layer` (close_notify), and
/// then waits.
///
/// With [`Delivery::Closed`] the peer has closed too. Its own close_notify is not waited for: it
/// proves no more than that the peer is done.
///
/// # Errors
/// As for [`await_delivery`]; a [`LayerError`](crate::LayerError) where the peer has refused what
/// was sent, such as a client's certificate.
pub fn await_delivery_through(
    layer: &Arc<dyn Layer>,
    socket: impl AsFd,
    idle: Option<Duration>,
    cancel: Option<&Cancel>,
) -> std::io::Result<Delivery> {
    let wire = Wire::of(Arc::clone(layer));
    deliver(socket.as_fd(), wire, bounded(idle), cancel)
}

/// As [`await_delivery`], or, with TLS, as [`await_delivery_through`]. The first 64 bytes that the
/// peer sends meanwhile are added to `heard`, also if it fails: a peer that refuses what it is sent
/// may have said why.
///
/// # Errors
/// As for the two functions.
///
/// ```
/// use std::io::Write;
/// use std::os::unix::net::UnixStream;
///
/// let (near, mut far) = UnixStream::pair()?;
/// far.write_all(b"no room")?;
/// drop(far);
/// let mut heard = Vec::new();
/// underpass::await_delivery_hearing(None, &near, None, None, &mut heard)?;
/// assert_eq!(heard, b"no room");
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn await_delivery_hearing(
    layer: Option<&Arc<dyn Layer>>,
    socket: impl AsFd,
    idle: Option<Duration>,
    cancel: Option<&Cancel>,
    heard: &mut Vec<u8>,
) -> std::io::Result<Delivery> {
    let wire = layer.cloned().map(Wire::of).unwrap_or_default();
    let mut peer = PeerState::new(socket.as_fd(), wire)?;
    let delivered = deliver_to(&mut peer, bounded(idle), cancel);
    heard.append(&mut peer.heard);
    delivered
}

fn deliver(
    socket: BorrowedFd<'_>,
    wire: Wire,
    idle: Option<Duration>,
    cancel: Option<&Cancel>,
) -> std::io::Result<Delivery> {
    deliver_to(&mut PeerState::new(socket, wire)?, idle, cancel)
}

fn deliver_to(
    peer: &mut PeerState<'_>,
    idle: Option<Duration>,
    cancel: Option<&Cancel>,
) -> std::io::Result<Delivery> {
    // A shorter idle timeout shortens the grace period too.
    let grace = idle.map_or(GRACE, |idle| idle.min(GRACE));
    while !peer.end()? {
        if peer.queue.is_stalled(idle) {
            return Err(Errno::TIMEDOUT.into());
        }
        peer.wait(cancel)?;
    }
    loop {
        peer.look()?;
        if peer.queue.is_empty() && peer.peer_closed {
            return Ok(Delivery::Closed);
        }
        if peer.queue.is_empty() && peer.queue.is_stalled(Some(grace)) {
            return Ok(Delivery::Taken);
        }
        if peer.queue.is_stalled(idle) {
            return Err(Errno::TIMEDOUT.into());
        }
        peer.wait(cancel)?;
    }
}

/// As [`await_delivery`], on a tokio runtime, and without ending the sending side: waits until the
/// peer has taken what was sent.
///
/// # Errors
/// As for [`await_delivery`].
///
/// # Panics
/// Outside a tokio runtime with its timer enabled.
///
/// # Cancel safety
/// Cancel safe.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
/// use tokio::net::UnixStream;
///
/// let (mut near, mut far) = UnixStream::pair()?;
/// near.write_all(b"all of it").await?;
/// let mut got = [0; 9];
/// tokio::try_join!(underpass::await_taken(&near, None), far.read_exact(&mut got))?;
/// # Ok(())
/// # }
/// ```
#[cfg(feature = "tokio")]
pub async fn await_taken(socket: impl AsFd, idle: Option<Duration>) -> std::io::Result<()> {
    Ok(taken(socket.as_fd(), Wire::Plain, bounded(idle)).await?)
}

/// As [`await_delivery_through`], on a tokio runtime: says the end through `layer`, and waits until
/// the peer has taken what was sent.
///
/// # Errors
/// As for [`await_delivery_through`].
///
/// # Panics
/// Outside a tokio runtime with its timer enabled.
///
/// # Cancel safety
/// Cancel safe.
#[cfg(feature = "tokio")]
pub async fn await_taken_through(
    layer: &Arc<dyn Layer>,
    socket: impl AsFd,
    idle: Option<Duration>,
) -> std::io::Result<()> {
    let (socket, idle) = (socket.as_fd(), bounded(idle));
    let wire = Wire::of(Arc::clone(layer));
    let mut peer = PeerState::new(socket, wire.clone())?;
    while !peer.end()? {
        if peer.queue.is_stalled(idle) {
            return Err(Errno::TIMEDOUT.into());
        }
        tokio::time::sleep(peer.queue.next_pause()).await;
    }
    Ok(taken(socket, wire, idle).await?)
}

/// Waits until the peer has taken what was sent, and the end.
#[cfg(feature = "tokio")]
pub(crate) async fn taken(
    socket: BorrowedFd<'_>,
    wire: Wire,
    idle: Option<Duration>,
) -> Result<(), CallError> {
    let mut peer = PeerState::new(socket, wire)?;
    loop {
        peer.look()?;
        if peer.queue.is_empty() {
            return Ok(());
        }
        if peer.queue.is_stalled(idle) {
            return Err(Errno::TIMEDOUT.into());
        }
        tokio::time::sleep(peer.queue.next_pause()).await;
    }
}

/// Bytes that the peer's kernel has acknowledged over the life of the TCP connection
/// (`tcpi_bytes_acked` of tcp(7)); the SYN and the FIN of this side count as one each.
///
/// The count stays readable after a reset. Compared with its value before a transfer, it tells how
/// many bytes arrived at least.
///
/// # Errors
/// `socket` is not a TCP socket.
pub fn acknowledged(socket: impl AsFd) -> std::io::Result<u64> {
    Ok(tcp::acknowledged(socket.as_fd())?)
}

/// Ends the sending side. For a connection that was reset, shutdown(2) fails with ENOTCONN; the
/// socket's own error is returned then.
fn shut_down(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    let ended = rustix::net::shutdown(socket, Shutdown::Write);
    if ended == Err(Errno::NOTCONN) {
        rustix::net::sockopt::socket_error(socket)??;
    }
    ended
}

/// How a peer takes what was sent, seen by polling the socket's queue.
pub(crate) struct SendQueue {
    /// Bytes sent and not taken yet.
    untaken: u64,
    /// When the peer was last seen to take bytes.
    progressed: Instant,
    pause: Duration,
}

impl SendQueue {
    pub(crate) fn new(untaken: u64) -> Self {
        Self {
            untaken,
            progressed: Instant::now(),
            pause: FIRST_PAUSE,
        }
    }

    /// Notes how many bytes are not taken yet.
    pub(crate) fn look(&mut self, untaken: u64) {
        if untaken < self.untaken {
            self.progressed = Instant::now();
            self.pause = FIRST_PAUSE;
        }
        self.untaken = untaken;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.untaken == 0
    }

    /// Whether the peer has taken nothing for as long as `idle`.
    pub(crate) fn is_stalled(&self, idle: Option<Duration>) -> bool {
        idle.is_some_and(|idle| self.progressed.elapsed() >= idle)
    }

    /// The pause before the next check.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LAST_PAUSE);
        pause
    }
}

/// What is known about the peer.
struct PeerState<'a> {
    socket: BorrowedFd<'a>,
    wire: Wire,
    /// TCP: what is not acknowledged, the FIN included. Unix socket: what is not read.
    queue: SendQueue,
    /// The peer has ended its side. That alone proves nothing: it may have done so long ago.
    peer_closed: bool,
    /// The first bytes that it has sent.
    heard: Vec<u8>,
}

impl<'a> PeerState<'a> {
    fn new(socket: BorrowedFd<'a>, wire: Wire) -> Result<Self, Errno> {
        Ok(Self {
            socket,
            wire,
            queue: SendQueue::new(tcp::untaken(socket)?),
            peer_closed: false,
            heard: Vec::new(),
        })
    }

    /// Ends the sending side, with TLS by close_notify first. `false` while the socket has no room
    /// for that.
    fn end(&mut self) -> Result<bool, CallError> {
        match self.wire.close(self.socket) {
            Ok(()) => Ok(shut_down(self.socket).map(|()| true)?),
            Err(error) if error.would_block() => self.look().map(|()| false),
            Err(error) => Err(error),
        }
    }

    /// Reads some of what the peer sends, and checks what it took.
    fn look(&mut self) -> Result<(), CallError> {
        if !self.peer_closed {
            let heard = &mut self.heard;
            let keep = |bytes: &[u8]| keep_first(heard, bytes);
            self.peer_closed = listen(self.socket, &self.wire, keep)? == Heard::End;
        }
        rustix::net::sockopt::socket_error(self.socket)??;
        self.queue.look(tcp::untaken(self.socket)?);
        Ok(())
    }

    /// Waits until the peer sends something, or for the next check.
    fn wait(&mut self, cancel: Option<&Cancel>) -> Result<(), Errno> {
        let mut fds = Vec::with_capacity(2);
        if let Some(cancel) = cancel {
            fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
        }
        // A closed side stays readable forever.
        if !self.peer_closed {
            fds.push(PollFd::from_borrowed_fd(self.socket, PollFlags::IN));
        }
        let pause = Timespec::try_from(self.queue.next_pause()).map_err(|_| Errno::INVAL)?;
        match rustix::event::poll(&mut fds, Some(&pause)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if cancel.is_some_and(Cancel::is_cancelled) {
            return Err(Errno::CANCELED);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt;
    use std::io::{ErrorKind, Write};
    use std::net::{TcpListener, TcpStream};

    /// The peer takes nothing and never stops sending.
    #[test]
    fn pitfall_35_a_flooding_peer_is_given_up_in_time() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        while (&near).write(&[0; 8192]).is_ok() {}
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| while (&far).write(&[1; 8192]).is_ok() {});
            }
            let idle = Some(Duration::from_millis(100));
            let error = await_delivery(&near, idle, None).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut);
            // A transfer that was cancelled before does not even wait for that.
            let cancel = Cancel::new().unwrap();
            cancel.cancel();
            let error = await_delivery(&near, None, Some(&cancel)).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
            drop(near);
        });
    }

    #[test]
    fn a_reset_before_the_end_is_a_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let far = listener.accept().unwrap().0;
        sockopt::set_socket_linger(&far, Some(Duration::ZERO)).unwrap();
        drop(far);
        // No event is requested: poll(2) always reports a hang-up.
        let mut hangup = [PollFd::new(&near, PollFlags::empty())];
        rustix::event::poll(&mut hangup, None).unwrap();
        let error = await_delivery(&near, None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
