//! Peers that the test plays itself, so that it decides when they read, write and leave.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::sockopt::{self, Timeout};

use super::{Dir, MIB};

/// No peer in a passing test is silent this long, so a test that hangs fails.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of either kind.
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to `tcp://…` or `unix:…`.
    pub(crate) fn connect(address: &str) -> Self {
        let stream = match address.strip_prefix("tcp://") {
            Some(host) => Self::Tcp(TcpStream::connect(host).unwrap()),
            None => {
                Self::Unix(UnixStream::connect(address.strip_prefix("unix:").unwrap()).unwrap())
            }
        };
        bound_waits(&stream);
        stream
    }

    /// What the other side calls this one; over TCP, its address.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Tcp(stream) => stream.local_addr().unwrap().to_string(),
            Self::Unix(_) => "a local peer".to_owned(),
        }
    }

    /// The same connection, for another thread.
    pub(crate) fn try_clone(&self) -> Self {
        match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone().unwrap()),
            Self::Unix(stream) => Self::Unix(stream.try_clone().unwrap()),
        }
    }

    /// Ends the sending side, and can still read.
    pub(crate) fn end(&self) {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write).unwrap(),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write).unwrap(),
        }
    }

    /// Writes until no more is taken, without waiting.
    pub(crate) fn fill(&mut self) -> usize {
        let set = |is_so| rustix::io::ioctl_fionbio(self.as_fd(), is_so).unwrap();
        set(true);
        let mut written = 0;
        while let Ok(count) = rustix::io::write(self.as_fd(), &[b'f'; 16 << 10]) {
            written += count;
        }
        set(false);
        written
    }

    /// Waits until the other side is gone completely, without reading.
    pub(crate) fn await_hang_up(&self) {
        let mut fds = [PollFd::new(self, PollFlags::empty())];
        let patience = Timespec::try_from(PATIENCE).unwrap();
        let ready = rustix::event::poll(&mut fds, Some(&patience)).unwrap();
        assert_eq!(ready, 1, "the other side stays");
    }

    /// Waits until the other side closes.
    pub(crate) fn await_close(&mut self) {
        let _ = self.read(&mut [0]);
    }

    /// Leaves without an orderly close: TCP resets the connection, and so does a Unix socket with
    /// unread bytes.
    pub(crate) fn reset(self) {
        if let Self::Tcp(stream) = &self {
            sockopt::set_socket_linger(stream, Some(Duration::ZERO)).unwrap();
        }
    }

    pub(crate) fn read_exactly(&mut self, count: usize) -> Vec<u8> {
        let mut content = vec![0; count];
        self.read_exact(&mut content).unwrap();
        content
    }

    pub(crate) fn read_all(&mut self) -> Vec<u8> {
        let mut content = Vec::new();
        self.read_to_end(&mut content).unwrap();
        content
    }

    /// Reads to the end and discards the bytes. An error means a reset.
    pub(crate) fn drain(&mut self) -> io::Result<u64> {
        io::copy(self, &mut io::sink())
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(into),
            Self::Unix(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(from),
            Self::Unix(stream) => stream.write(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A listener of either kind, for `send` to connect to.
pub(crate) enum Host {
    Tcp(TcpListener),
    Unix(UnixListener, String),
}

impl Host {
    pub(crate) fn tcp() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        // Connections inherit this: their buffers stay small, however large this machine lets
        // buffers grow.
        sockopt::set_socket_recv_buffer_size(&listener, MIB).unwrap();
        bound_waits(&listener);
        Self::Tcp(listener)
    }

    pub(crate) fn unix(dir: &Dir) -> Self {
        let path = dir.path("host");
        let listener = UnixListener::bind(&path).unwrap();
        bound_waits(&listener);
        Self::Unix(listener, path)
    }

    /// One listener of each kind.
    pub(crate) fn each(dir: &Dir) -> [Self; 2] {
        [Self::tcp(), Self::unix(dir)]
    }

    pub(crate) fn address(&self) -> String {
        match self {
            Self::Tcp(listener) => format!("tcp://{}", listener.local_addr().unwrap()),
            Self::Unix(_, path) => format!("unix:{path}"),
        }
    }

    pub(crate) fn accept(&self) -> Stream {
        let stream = match self {
            Self::Tcp(listener) => Stream::Tcp(listener.accept().unwrap().0),
            Self::Unix(listener, _) => Stream::Unix(listener.accept().unwrap().0),
        };
        bound_waits(&stream);
        stream
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Self::Unix(_, path) = self {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn bound_waits(socket: impl AsFd) {
    for direction in [Timeout::Recv, Timeout::Send] {
        sockopt::set_socket_timeout(&socket, direction, Some(PATIENCE)).unwrap();
    }
}

/// Waits until a program listens at the path of a Unix socket. No event says so, so this polls.
/// Connecting would not do: some programs wait for exactly one connection.
pub(crate) fn await_listener(path: &str) {
    /// `__SO_ACCEPTCON`
    const LISTENS: &str = " 00010000 ";
    let listens = |line: &str| line.contains(LISTENS) && line.ends_with(path);
    while !std::fs::read_to_string("/proc/net/unix")
        .unwrap()
        .lines()
        .any(listens)
    {
        std::thread::yield_now();
    }
}
