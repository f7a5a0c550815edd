//! The end of a connection over which something went wrong: the peer gets the last thing that it
//! was sent, such as the alert that says what is wrong.
//!
//! Closing a socket that has unread bytes resets the connection, and so does closing one that is
//! marked to do so. A reset can overtake what the peer has not read yet. So the sending side ends
//! first, and what the peer still sends is read for a while (RFC 9112, section 9.6).

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::net::{Shutdown, shutdown, sockopt};

use crate::cancel::Cancel;
use crate::layer::{CallError, Layer};
use crate::net::close::close_in_order;
use crate::net::discard::{Heard, discard};
use crate::sys::tcp;
use crate::wire::Wire;

/// How long the peer may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Between two readings. poll(2) has no event for an acknowledgement.
const PAUSE: Duration = Duration::from_millis(5);

/// How often as much is read as one reading may take: 1 MiB in all.
const READINGS: usize = 16;

/// Says the end of a connection, and waits until the peer has closed it too, for two seconds at
/// most. What the peer sends meanwhile is read and discarded. Closing the socket afterwards does
/// not reset the connection, unless the peer goes on sending.
///
/// With TLS, its layer says the end: by the alert that belongs to an error of the peer, and else by
/// close_notify. Whatever fails, the connection is over, so there is no error.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::{TcpListener, TcpStream};
///
/// let listener = TcpListener::bind("127.0.0.1:0")?;
/// let mut peer = TcpStream::connect(listener.local_addr()?)?;
/// let (mut socket, _) = listener.accept()?;
/// peer.write_all(b"nonsense")?;
/// socket.write_all(b"that was wrong")?;
/// let reader = std::thread::spawn(move || peer.read_to_end(&mut Vec::new()));
/// underpass::close_lingering(None, &socket, None);
/// drop(socket);
/// assert_eq!(reader.join().unwrap()?, 14);
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn close_lingering(layer: Option<&Arc<dyn Layer>>, socket: impl AsFd, cancel: Option<&Cancel>) {
    let mut farewell = Farewell::new(layer, socket.as_fd());
    while !farewell.is_over() && !cancel.is_some_and(Cancel::is_cancelled) {
        if farewell.wait(cancel).is_err() {
            break;
        }
    }
}

/// As [`close_lingering`], on a tokio runtime.
///
/// # Panics
/// Outside a tokio runtime with its timer enabled.
///
/// # Cancel safety
/// Cancel safe: the end is said at the first poll, as far as the socket takes it.
#[cfg(feature = "tokio")]
pub async fn close_lingering_async(layer: Option<&Arc<dyn Layer>>, socket: impl AsFd) {
    let mut farewell = Farewell::new(layer, socket.as_fd());
    while !farewell.is_over() {
        tokio::time::sleep(PAUSE).await;
    }
}

struct Farewell<'a> {
    socket: BorrowedFd<'a>,
    wire: Wire,
    begun: Instant,
    /// The end was said, and the sending side is shut down.
    is_said: bool,
    /// The peer has closed, or has sent too much, or TLS in the kernel refuses to read on.
    is_deaf: bool,
    readings: usize,
}

impl<'a> Farewell<'a> {
    fn new(layer: Option<&Arc<dyn Layer>>, socket: BorrowedFd<'a>) -> Self {
        // If it fails, this is no socket any more, and there is nobody to be told.
        let _ = close_in_order(socket);
        Self {
            socket,
            wire: layer
                .map(|layer| Wire::of(Arc::clone(layer)))
                .unwrap_or_default(),
            begun: Instant::now(),
            is_said: false,
            is_deaf: false,
            readings: 0,
        }
    }

    fn is_over(&mut self) -> bool {
        self.begun.elapsed() >= LIMIT || self.look().unwrap_or(true)
    }

    /// Whether the peer has closed and has everything; or has everything, if its end cannot be
    /// known. An error means that the connection is gone.
    fn look(&mut self) -> Result<bool, CallError> {
        if !self.is_said {
            match self.wire.close(self.socket) {
                Ok(()) => {
                    shutdown(self.socket, Shutdown::Write)?;
                    self.is_said = true;
                }
                Err(error) if error.would_block() => {}
                Err(error) => return Err(error),
            }
        }
        sockopt::socket_error(self.socket)??;
        if !self.is_deaf {
            self.hear();
        }
        Ok(self.is_said && self.is_deaf && tcp::untaken(self.socket)? == 0)
    }

    /// Reads what is on the socket itself: its meaning does not matter any more.
    fn hear(&mut self) {
        match discard(self.socket, &Wire::Plain) {
            Ok(Heard::All) => {}
            Ok(Heard::Part) => {
                self.readings += 1;
                self.is_deaf = self.readings >= READINGS;
            }
            Ok(Heard::End) | Err(_) => self.is_deaf = true,
        }
    }

    fn wait(&mut self, cancel: Option<&Cancel>) -> Result<(), rustix::io::Errno> {
        let mut fds = Vec::with_capacity(2);
        if let Some(cancel) = cancel {
            fds.push(PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN));
        }
        if !self.is_deaf {
            fds.push(PollFd::from_borrowed_fd(self.socket, PollFlags::IN));
        }
        let pause = Timespec::try_from(PAUSE).unwrap_or_default();
        match poll(&mut fds, Some(&pause)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    use super::*;
    use crate::net::close::reset_on_close;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    /// A peer that reads only when it has sent everything, as most do.
    #[test]
    fn the_last_words_reach_a_peer_that_is_still_sending() {
        let (mut near, mut far) = pair();
        reset_on_close(&near).unwrap();
        let sent = vec![1; 900_000];
        let peer = thread::spawn(move || {
            far.write_all(&sent)?;
            let mut heard = Vec::new();
            far.read_to_end(&mut heard).map(|_| heard)
        });
        // Some of it has come, and nothing of it is read.
        near.peek(&mut [0]).unwrap();
        near.write_all(b"that was wrong").unwrap();
        close_lingering(None, &near, None);
        drop(near);
        assert_eq!(peer.join().unwrap().unwrap(), b"that was wrong");
    }

    #[test]
    fn a_peer_that_says_nothing_is_not_waited_for_without_end() {
        let (near, far) = pair();
        close_lingering(None, &near, None);
        let cancel = Cancel::new().unwrap();
        cancel.cancel();
        close_lingering(None, &near, Some(&cancel));
        drop(far);
    }

    #[test]
    fn a_peer_that_never_stops_sending_is_left() {
        let (near, mut far) = pair();
        let peer = thread::spawn(move || while far.write_all(&[1; 9999]).is_ok() {});
        close_lingering(None, &near, None);
        drop(near);
        peer.join().unwrap();
    }
}
