//! All subscribers, on one thread: they discard what they get without copying it (`MSG_TRUNC`), or
//! compare it.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

use super::pattern;
use crate::clock::thread_cpu;
use crate::error::{Context, Error, Result};
use crate::ready::readable;
use crate::sys;

/// The length of each recv. When bytes are discarded, the kernel writes nothing into the buffer, so
/// its pages never exist.
const BITE: usize = 16 << 20;
/// How often a thread that receives nothing checks whether it was interrupted.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// After this many such checks without a byte, a run is given up.
const PATIENCE: u32 = 100;

/// The connections of the subscribers.
pub(super) struct Readers {
    sockets: Vec<TcpStream>,
    /// For each subscriber, the bytes before those that are counted, such as an HTTP head.
    skip: Vec<u64>,
}

/// Ports at which subscribers wait, for contenders that connect to them.
pub(super) struct Waiting(Vec<TcpListener>);

impl Waiting {
    pub(super) fn listen(count: usize) -> Result<Self> {
        let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        let all: std::io::Result<_> = (0..count).map(listen).collect();
        all.map(Self).context(|| "subscribers cannot listen".into())
    }

    pub(super) fn ports(&self) -> Result<Vec<u16>> {
        let port = |listener: &TcpListener| Ok(listener.local_addr()?.port());
        let ports: std::io::Result<_> = self.0.iter().map(port).collect();
        ports.context(|| "cannot read a subscriber's port".into())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits until every subscriber was connected to.
    pub(super) fn accept(self) -> Result<Readers> {
        let accept = |listener: TcpListener| {
            let waited = readable(&listener, Duration::from_secs(10))?;
            if !waited {
                return Err(Error::new("nobody connected to a subscriber"));
            }
            let accepted = listener
                .accept()
                .context(|| "a subscriber cannot accept".into());
            Ok(accepted?.0)
        };
        let sockets: Result<_> = self.0.into_iter().map(accept).collect();
        Ok(Readers::of(sockets?))
    }
}

impl Readers {
    fn of(sockets: Vec<TcpStream>) -> Self {
        let skip = vec![0; sockets.len()];
        Self { sockets, skip }
    }

    pub(super) fn count(&self) -> usize {
        self.sockets.len()
    }

    /// Takes `first`, and connects as many more as make `count`.
    pub(super) fn connect(first: TcpStream, addr: SocketAddr, count: usize) -> Result<Self> {
        let others = (1..count).map(|_| TcpStream::connect(addr));
        let sockets: std::io::Result<_> = [Ok(first)].into_iter().chain(others).collect();
        let sockets = sockets.context(|| format!("a subscriber cannot connect to {addr}"))?;
        Ok(Self::of(sockets))
    }

    /// Requests a file over HTTP, and reads the response's head.
    pub(super) fn request(&mut self, path: &str) -> Result<()> {
        let ask = format!("GET /{path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n\r\n");
        for (socket, skip) in self.sockets.iter_mut().zip(&mut self.skip) {
            socket
                .write_all(ask.as_bytes())
                .context(|| "a subscriber cannot ask".into())?;
            *skip = head(socket)?;
        }
        Ok(())
    }

    /// Reads until all connections end. Each subscriber must get `size` bytes. Returns the CPU time
    /// of this thread.
    pub(super) fn read(self, size: u64, compare: bool) -> Result<Duration> {
        let before = thread_cpu();
        let mut reading = Reading {
            got: vec![0; self.sockets.len()],
            buffer: vec![0; BITE],
            compare,
            all: self,
        };
        reading.run()?;
        let wrong = reading.got.iter().find(|got| **got != size);
        if let Some(got) = wrong {
            return Err(Error::new(format!(
                "a subscriber got {got} of {size} bytes"
            )));
        }
        Ok(thread_cpu().saturating_sub(before))
    }
}

/// The length of a response's head. Only the head is taken.
fn head(socket: &TcpStream) -> Result<u64> {
    let mut buffer = [0; 4096];
    loop {
        let peeked = recv(socket, &mut buffer[..], RecvFlags::PEEK);
        let (_, count) = peeked.context(|| "a subscriber cannot read a head".into())?;
        if let Some(end) = memchr::memmem::find(&buffer[..count], b"\r\n\r\n") {
            if !buffer.starts_with(b"HTTP/1.1 200") {
                return Err(Error::new("a subscriber was refused"));
            }
            return Ok(end as u64 + 4);
        }
        if count == 0 || count == buffer.len() {
            return Err(Error::new("a subscriber got no head"));
        }
    }
}

struct Reading {
    all: Readers,
    got: Vec<u64>,
    buffer: Vec<u8>,
    compare: bool,
}

impl Reading {
    fn run(&mut self) -> Result<()> {
        let failed = || "subscribers cannot poll".to_owned();
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context(failed)?;
        for (at, socket) in self.all.sockets.iter().enumerate() {
            self.skip(at)?;
            socket.set_nonblocking(true).context(failed)?;
            let data = epoll::EventData::new_u64(at as u64);
            epoll::add(&epoll, socket, data, epoll::EventFlags::IN).context(failed)?;
        }
        let mut events = Vec::with_capacity(self.got.len());
        let (mut open, mut silent) = (self.got.len(), 0);
        while open > 0 {
            match epoll::wait(&epoll, spare_capacity(&mut events), Some(&LOOK)) {
                Ok(0) => silent += 1,
                Ok(_) => silent = 0,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno).context(failed),
            }
            if sys::interrupted() || silent > PATIENCE {
                return Err(Error::new("the stream stands still"));
            }
            for event in events.drain(..) {
                let at = event.data.u64() as usize;
                if !self.take(at)? {
                    let socket = &self.all.sockets[at];
                    epoll::delete(&epoll, socket).context(failed)?;
                    // A contender that waits until everything is taken sees the end.
                    let _ = socket.shutdown(std::net::Shutdown::Both);
                    open -= 1;
                }
            }
        }
        Ok(())
    }

    fn skip(&self, at: usize) -> Result<()> {
        let mut head = vec![0; self.all.skip[at] as usize];
        let taken = std::io::Read::read_exact(&mut &self.all.sockets[at], &mut head);
        taken.context(|| "a subscriber cannot read a head".into())
    }

    /// Reads from one subscriber. Returns whether there may be more.
    fn take(&mut self, at: usize) -> Result<bool> {
        let how = if self.compare {
            RecvFlags::empty()
        } else {
            RecvFlags::TRUNC
        };
        let got = self.got[at];
        match recv(&self.all.sockets[at], &mut self.buffer[..], how) {
            Ok((_, 0)) => Ok(false),
            Ok((_, count)) => {
                if self.compare && !pattern::is_at(got, &self.buffer[..count]) {
                    let wrong = format!("a subscriber got wrong bytes after {got}");
                    return Err(Error::new(wrong));
                }
                self.got[at] += count as u64;
                Ok(true)
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(true),
            Err(errno) => {
                Err(errno).context(|| format!("a subscriber broke off after {got} bytes"))
            }
        }
    }
}
