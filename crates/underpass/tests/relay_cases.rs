//! Relayed content, byte for byte, over thousands of seeded cases: small socket buffers, delays at every place, sides that
//! end, sides that are killed. Delays are the order in which sides act, drawn from the seed, so a case that fails fails again:
//! `UNDERPASS_RELAY_SEED=17 cargo test -p underpass --test relay_cases`.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::LazyLock;
use std::time::Duration;

use rustix::net::{Shutdown, shutdown, sockopt};
use underpass::relay::{Ended, Relay, Relayed, Settings, Way};
use underpass::{Route, Step};

const CASES: u64 = 10_000;

/// So often may everybody act in a row without a byte moving. Loopback TCP may take a moment, so each such round sleeps.
const STUCK: u32 = 20_000;

#[test]
fn pitfall_10_and_15_every_byte_arrives_once_and_in_order() {
    if let Ok(seed) = std::env::var("UNDERPASS_RELAY_SEED") {
        return Case::new(seed.parse().unwrap()).run();
    }
    let threads = std::thread::available_parallelism().map_or(2, usize::from) as u64;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (thread..CASES).step_by(threads as usize) {
                    Case::new(seed).run();
                }
            });
        }
    });
}

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit.max(1)
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }
}

/// One side: a client or a target.
struct Peer {
    socket: Option<OwnedFd>,
    is_tcp: bool,
    /// What it sends.
    content: Vec<u8>,
    sent: usize,
    ended: bool,
    got: Vec<u8>,
    /// How what it reads ended.
    saw: Option<Saw>,
    /// How much it reads or writes at once.
    bite: u64,
    /// How often it acts: one in so many times.
    lazy: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Saw {
    End,
    Reset,
}

struct Case {
    seed: u64,
    random: Random,
    relay: Relay<OwnedFd, OwnedFd>,
    client: Peer,
    target: Peer,
    /// The relay's own delay.
    lazy: u64,
    /// A side to be killed, and after how many actions.
    kill: Option<(bool, u64)>,
    killed: bool,
}

impl Case {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let (mut client, near) = Peer::new(&mut random);
        let (mut target, far) = Peer::new(&mut random);
        // Bytes one by one, but not a great many of them.
        let most = client.content.len().max(target.content.len()) as u64;
        for peer in [&mut client, &mut target] {
            peer.bite = peer.bite.max(most / 100);
        }
        let mut settings = Settings::default();
        settings.route =
            [None, None, Some(Route::Splice), Some(Route::ReadWrite)][random.below(4) as usize];
        let kill = random
            .one_in(3)
            .then(|| (random.one_in(2), random.below(400)));
        let lazy = 1 + random.below(4);
        Self {
            relay: Relay::new(near, far, &settings).unwrap(),
            seed,
            random,
            client,
            target,
            lazy,
            kill,
            killed: false,
        }
    }

    fn run(mut self) {
        let (mut actions, mut idle) = (0, 0);
        while !self.relay.is_over() {
            actions += 1;
            if self.kill.is_some_and(|(_, after)| after == actions) {
                self.kill();
            }
            let moved = self.act();
            idle = if moved { 0 } else { idle + 1 };
            assert!(
                idle < STUCK,
                "seed {}: nothing moves: {:?}",
                self.seed,
                self.relay
            );
            if idle > 1000 {
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        let Self { relay, .. } = self;
        let relayed = relay.finish();
        for peer in [&mut self.client, &mut self.target] {
            peer.read_to_end();
        }
        Self::check(self.seed, self.killed, &relayed, &self.client, &self.target);
    }

    /// One side, or the relay in one direction, does something. Whether that moved anything.
    fn act(&mut self) -> bool {
        let random = &mut self.random;
        match random.below(6) {
            0 => random.one_in(self.client.lazy) && self.client.write(random),
            1 => random.one_in(self.client.lazy) && self.client.read(random),
            2 => random.one_in(self.target.lazy) && self.target.write(random),
            3 => random.one_in(self.target.lazy) && self.target.read(random),
            way => {
                let way = Way::BOTH[way as usize - 4];
                random.one_in(self.lazy) && matches!(self.relay.step(way), Step::Moved(_))
            }
        }
    }

    fn kill(&mut self) {
        let side = self.kill.map(|(client, _)| client);
        let peer = if side == Some(true) {
            &mut self.client
        } else {
            &mut self.target
        };
        let socket = peer.socket.take().unwrap();
        sockopt::set_socket_linger(&socket, Some(Duration::ZERO)).unwrap();
        self.killed = true;
    }

    fn check(seed: u64, killed: bool, relayed: &Relayed, client: &Peer, target: &Peer) {
        let ways = [
            (&relayed.up, client, target, "up"),
            (&relayed.down, target, client, "down"),
        ];
        for (carried, from, to, way) in ways {
            let told = carried.bytes() as usize;
            let said = format!(
                "seed {seed}, {way}: {carried:?}, sent {}, got {}",
                from.sent,
                to.got.len()
            );
            assert!(from.content.starts_with(&to.got), "{said}: other bytes");
            let refused = carried.splice_refused || carried.pipes_refused > 0;
            assert!(!refused, "{said}: not by the route it should be");
            assert!(
                to.got.len() <= told && told <= from.sent,
                "{said}: not the account"
            );
            assert!(
                told + carried.undelivered as usize <= from.sent,
                "{said}: more than was sent"
            );
            if killed {
                // Who has not seen the end before sees a reset.
                let clean = carried.ended || relayed.ended == Ended::Closed || !to.is_tcp;
                assert!(
                    to.socket.is_none() || clean || to.saw == Some(Saw::Reset),
                    "{said}: {:?}",
                    to.saw
                );
            } else {
                assert_eq!(relayed.ended, Ended::Closed, "{said}");
                assert_eq!((told, to.got.len()), (from.content.len(), told), "{said}");
                assert_eq!((carried.undelivered, carried.ended), (0, true), "{said}");
                assert_eq!(to.saw, Some(Saw::End), "{said}");
            }
        }
    }
}

impl Peer {
    /// A side, and the socket that the relay has of it.
    fn new(random: &mut Random) -> (Self, OwnedFd) {
        let is_tcp = random.one_in(3);
        let (mine, theirs) = if is_tcp { tcp() } else { unix() };
        // TCP with a window that is smaller than a segment waits for its timers.
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

    fn write(&mut self, random: &mut Random) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| !self.ended) else {
            return false;
        };
        let rest = &self.content[self.sent..];
        if rest.is_empty() {
            self.ended = true;
            // Refused when the other side has reset, which reading tells.
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

    fn read(&mut self, random: &mut Random) -> bool {
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

    /// What is still on its way, now that the relay is over.
    fn read_to_end(&mut self) {
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
