//! Peers that act by a seed, so that a case that fails can be repeated.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};

/// How many rounds may pass without a byte moving. Loopback TCP may take a moment, so each such
/// round sleeps.
pub(crate) const STUCK: u32 = 20_000;

/// Runs this many cases on all processors, or the one case that the environment variable names.
pub(crate) fn each_seed(variable: &str, cases: u64, run: fn(u64)) {
    if let Ok(seed) = std::env::var(variable) {
        return run(seed.parse().unwrap());
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || (thread..cases).step_by(threads as usize).for_each(run));
        }
    });
}

/// xorshift64*.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }
}

/// A program at the other end of a socket that reads and writes at random.
pub(crate) struct Peer {
    pub(crate) socket: Option<OwnedFd>,
    pub(crate) is_tcp: bool,
    /// The bytes that it sends.
    pub(crate) content: Vec<u8>,
    pub(crate) sent: usize,
    pub(crate) ended: bool,
    pub(crate) got: Vec<u8>,
    /// How the stream that it reads ended.
    pub(crate) saw: Option<Saw>,
    /// How many bytes it reads or writes at once.
    pub(crate) bite: u64,
    /// How often it acts: one in this many times.
    pub(crate) lazy: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Saw {
    End,
    Reset,
}

impl Peer {
    /// Makes a peer, and the socket to be served.
    pub(crate) fn new(random: &mut Random) -> (Self, OwnedFd) {
        let is_tcp = random.one_in(3);
        let (mine, theirs) = if is_tcp { tcp() } else { unix() };
        // TCP with a window smaller than a segment waits for its timers.
        let least = if is_tcp { 16 } else { 12 };
        for socket in [&mine, &theirs] {
            let size = 1 << (least + random.below(6));
            sockopt::set_socket_send_buffer_size(socket, size).unwrap();
            sockopt::set_socket_recv_buffer_size(socket, size).unwrap();
        }
        rustix::io::ioctl_fionbio(&mine, true).unwrap();
        let length = match random.below(4) {
            0 => 0,
            1 => random.below(200),
            2 => random.below(20_000),
            _ => random.below(300_000),
        };
        let peer = Self {
            socket: Some(mine),
            is_tcp,
            content: random.bytes(length as usize),
            sent: 0,
            ended: false,
            got: Vec::new(),
            saw: None,
            bite: 1 << random.below(18),
            lazy: 1 + random.below(6),
        };
        (peer, theirs)
    }

    pub(crate) fn write(&mut self, random: &mut Random) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.ended) else {
            return false;
        };
        let rest = &self.content[self.sent..];
        if rest.is_empty() {
            self.ended = true;
            // This fails if the other side has reset the connection; reading will tell.
            let _ = shutdown(socket, Shutdown::Write);
            return true;
        }
        let bite = 1 + random.below(self.bite) as usize;
        match rustix::io::write(socket, &rest[..bite.min(rest.len())]) {
            Ok(count) => self.sent += count,
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => self.ended = true,
        }
        true
    }

    pub(crate) fn read(&mut self, random: &mut Random) -> bool {
        let bite = 1 + random.below(self.bite) as usize;
        self.read_up_to(bite)
    }

    fn read_up_to(&mut self, bite: usize) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| self.saw.is_none()) else {
            return false;
        };
        let mut buffer = vec![0; bite];
        match rustix::io::read(socket, &mut buffer) {
            Ok(0) => self.saw = Some(Saw::End),
            Ok(count) => self.got.extend(&buffer[..count]),
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(_) => self.saw = Some(Saw::Reset),
        }
        true
    }

    /// Reads what has arrived so far.
    pub(crate) fn drain(&mut self) {
        while self.socket.is_some() && self.saw.is_none() && self.read_up_to(1 << 16) {}
    }

    /// Resets the connection.
    pub(crate) fn kill(&mut self) {
        let socket = self.socket.take().unwrap();
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
    }

    /// Reads what is still on its way when nobody sends any more.
    pub(crate) fn read_to_end(&mut self) {
        if let Some(socket) = &self.socket {
            rustix::io::ioctl_fionbio(socket, false).unwrap();
        }
        while self.read_up_to(1 << 16) {}
    }
}

fn unix() -> (OwnedFd, OwnedFd) {
    let (one, other) = UnixStream::pair().unwrap();
    (one.into(), other.into())
}

fn tcp() -> (OwnedFd, OwnedFd) {
    static LISTENER: LazyLock<std::sync::Mutex<TcpListener>> =
        LazyLock::new(|| TcpListener::bind("127.0.0.1:0").unwrap().into());
    let listener = LISTENER.lock().unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (other, _) = listener.accept().unwrap();
    one.set_nodelay(true).unwrap();
    other.set_nodelay(true).unwrap();
    (one.into(), other.into())
}
