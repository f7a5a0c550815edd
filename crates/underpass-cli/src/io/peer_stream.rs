//! Reads from and writes to a peer, through TLS if there is any. Signals end the waits.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use underpass::Cancel;

use super::connection::PeerConnection;
use super::wait::wait;

/// Between two looks at what has no event.
const PAUSE: Duration = Duration::from_millis(2);

/// A connection as a stream. Fails with `TimedOut` when nothing moved for its timeout, and with
/// `ECANCELED` when cancelled.
#[derive(Clone)]
pub(crate) struct PeerStream<'a> {
    connection: &'a PeerConnection,
    timeout: Option<Duration>,
    cancel: &'a Cancel,
    /// System calls that read.
    pub(crate) reads: u64,
}

impl<'a> PeerStream<'a> {
    pub(crate) fn new(
        connection: &'a PeerConnection,
        timeout: Option<Duration>,
        cancel: &'a Cancel,
    ) -> Self {
        Self {
            connection,
            timeout,
            cancel,
            reads: 0,
        }
    }

    /// How long it waits; `None` for ever.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// The same with another timeout.
    pub(crate) fn within(&self, timeout: Option<Duration>) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// Bytes that the peer's kernel has acknowledged; `None` for a Unix socket, where they are with
    /// the peer at once.
    pub(crate) fn acknowledged(&self) -> Option<u64> {
        underpass::acknowledged(&self.connection.peer).ok()
    }

    /// Waits until something has come to pass, of which there is no event, but not for long.
    pub(crate) fn until(&self, limit: Duration, is_so: impl Fn() -> bool) {
        let begun = Instant::now();
        while !is_so() && begun.elapsed() < limit && !self.cancel.is_cancelled() {
            let _ = wait(&[], PollFlags::empty(), Some(PAUSE), self.cancel);
        }
    }

    /// Makes the call until the socket is ready for it.
    fn ready<T>(
        &self,
        events: PollFlags,
        mut call: impl FnMut() -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            if self.cancel.is_cancelled() {
                return Err(Errno::CANCELED.into());
            }
            match call() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let peer = self.connection.peer.as_fd();
                    wait(&[peer], events, self.timeout, self.cancel)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                done => return done,
            }
        }
    }
}

impl Read for PeerStream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut calls = 0;
        let peer = self.connection.peer.as_fd();
        let got = self.ready(PollFlags::IN, || {
            calls += 1;
            if let Some(layer) = self.connection.layer() {
                return layer.receive(peer, buffer);
            }
            let (count, _) = rustix::net::recv(peer, &mut *buffer, RecvFlags::DONTWAIT)?;
            Ok(count)
        });
        self.reads += calls;
        got
    }
}

impl Write for PeerStream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let peer = self.connection.peer.as_fd();
        self.ready(PollFlags::OUT, || {
            if let Some(layer) = self.connection.layer() {
                return layer.send(peer, &[IoSlice::new(bytes)], false);
            }
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            Ok(rustix::net::send(peer, bytes, flags)?)
        })
    }

    /// Hands to the kernel what TLS has still in this process.
    fn flush(&mut self) -> io::Result<()> {
        let peer = self.connection.peer.as_fd();
        self.ready(PollFlags::OUT, || match self.connection.layer() {
            Some(layer) => layer.flush(peer),
            None => Ok(()),
        })
    }
}
