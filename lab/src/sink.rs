//! The receiving end: takes one connection and discards its bytes without copying them
//! (`MSG_TRUNC`), so that the sender alone is measured.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use crate::error::{Context, Error, Result};
use crate::pin::Pinning;

/// The length of each discarding `recv`. The kernel writes nothing into the buffer, so its pages
/// never exist.
const DISCARD: usize = 64 << 20;
/// How often a receiver without a connection checks whether its sender is gone.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// A receiver that listens on a thread of its own.
pub(crate) struct Sink {
    port: u16,
    sender_gone: Arc<AtomicBool>,
    thread: JoinHandle<Result<Received>>,
}

/// What one connection delivered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) bytes: u64,
    pub(crate) accept_to_eof_s: f64,
    /// Time from the first byte to the end. It leaves out the time between connecting and sending.
    pub(crate) first_byte_to_eof_s: f64,
}

impl Sink {
    /// Listens on a free loopback port.
    pub(crate) fn start(pinning: Pinning) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .context(|| "cannot listen on loopback".into())?;
        let port = listener
            .local_addr()
            .context(|| "cannot read the sink's port".into())?
            .port();
        let sender_gone = Arc::new(AtomicBool::new(false));
        let gone = Arc::clone(&sender_gone);
        let thread = thread::spawn(move || {
            pinning.pin_sink()?;
            let (connection, accepted) = accept(&listener, &gone)?;
            receive(&connection, accepted)
        });
        Ok(Self {
            port,
            sender_gone,
            thread,
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Call this once the sender has ended. Then all its bytes are on their way, and no connection
    /// will come any more.
    pub(crate) fn finish(self) -> Result<Received> {
        self.sender_gone.store(true, Ordering::Relaxed);
        self.thread
            .join()
            .map_err(|_| Error::new("the sink's thread died"))?
    }
}

/// Reads and discards until the peer ends the stream, and returns the number of bytes.
pub(crate) fn drain(connection: &TcpStream) -> Result<u64> {
    let mut buffer = vec![0; DISCARD];
    let mut bytes = 0;
    loop {
        match recv(connection, &mut buffer[..], RecvFlags::TRUNC) {
            Ok((_, 0)) => return Ok(bytes),
            Ok((_, discarded)) => bytes += discarded as u64,
            Err(Errno::INTR) => {}
            Err(errno) => {
                return Err(errno).context(|| format!("the sink broke off after {bytes} bytes"));
            }
        }
    }
}

fn accept(listener: &TcpListener, sender_gone: &AtomicBool) -> Result<(TcpStream, Instant)> {
    loop {
        // This is read before polling: a sender may connect, send and end during one poll.
        let last_look = sender_gone.load(Ordering::Relaxed);
        if readable(&mut [PollFd::new(listener, PollFlags::IN)], Some(&PATIENCE))? {
            let (connection, _) = listener
                .accept()
                .context(|| "the sink cannot accept".into())?;
            return Ok((connection, Instant::now()));
        }
        if last_look {
            return Err(Error::new("the sender never connected"));
        }
    }
}

fn receive(connection: &TcpStream, accepted: Instant) -> Result<Received> {
    readable(&mut [PollFd::new(connection, PollFlags::IN)], None)?;
    let first_byte = Instant::now();
    let bytes = drain(connection)?;
    Ok(Received {
        bytes,
        accept_to_eof_s: accepted.elapsed().as_secs_f64(),
        first_byte_to_eof_s: first_byte.elapsed().as_secs_f64(),
    })
}

fn readable(fds: &mut [PollFd<'_>], patience: Option<&Timespec>) -> Result<bool> {
    loop {
        match poll(fds, patience) {
            Err(Errno::INTR) => {}
            ready => {
                return ready
                    .map(|count| count > 0)
                    .context(|| "the sink cannot poll".into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    fn unpinned() -> Sink {
        Sink::start(Pinning::new(false).unwrap()).unwrap()
    }

    #[test]
    fn counts_every_byte_and_answers_the_end_with_its_own() {
        let sink = unpinned();
        let mut sender = TcpStream::connect((Ipv4Addr::LOCALHOST, sink.port())).unwrap();
        sender.write_all(&vec![7; 3_000_001]).unwrap();
        sender.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(sender.read(&mut [0; 1]).unwrap(), 0);
        let received = sink.finish().unwrap();
        assert_eq!(received.bytes, 3_000_001);
        assert!(received.accept_to_eof_s >= received.first_byte_to_eof_s);
    }

    #[test]
    fn a_sender_that_never_connects_does_not_hang_the_sink() {
        assert_eq!(
            unpinned().finish().unwrap_err().to_string(),
            "the sender never connected"
        );
    }
}
