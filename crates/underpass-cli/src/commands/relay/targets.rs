//! Where connections are passed on to: each target in turn, and the next when one cannot be reached.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::net::{TcpStream, UnixStream};
use underpass::relay::Socket;

use super::stats::Stats;
use crate::exit::Failure;
use crate::server::{Address, RESTING, is_exhaustion};

/// For so long a target that could not be reached is tried after all others.
const ASIDE: Duration = Duration::from_secs(5);

pub(super) struct Targets {
    all: Vec<Target>,
    /// Counts connections, for whose turn it is.
    turn: AtomicUsize,
    begun: Instant,
}

pub(super) struct Target {
    name: String,
    place: Place,
    /// Until then it is aside: milliseconds since the relay began.
    aside: AtomicU64,
}

enum Place {
    Tcp(Vec<SocketAddr>),
    Unix(PathBuf),
}

impl Targets {
    /// Looks the host names up.
    pub(super) fn resolve(addresses: &[Address]) -> Result<Self, Failure> {
        Ok(Self {
            all: addresses.iter().map(Target::of).collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            begun: Instant::now(),
        })
    }

    /// Connects to the target whose turn it is, or to the first after it that can be reached within `timeout`.
    pub(super) async fn connect(
        &self,
        timeout: Duration,
        stats: &Stats,
    ) -> io::Result<(Socket, &Target)> {
        let mut failures = Vec::new();
        for target in self.order() {
            match tokio::time::timeout(timeout, target.connect()).await {
                Ok(Ok(socket)) => return Ok((socket, target)),
                Ok(Err(error)) => failures.push(format!("{}: {error}", target.name)),
                Err(_) => failures.push(format!("{}: no answer in {timeout:?}", target.name)),
            }
            stats.connects_failed.add(1);
            let until = self.begun.elapsed() + ASIDE;
            target.aside.store(until.as_millis() as u64, Relaxed);
        }
        Err(io::Error::other(failures.join("; ")))
    }

    /// All of them, beginning with the one whose turn it is; those that are aside come last.
    fn order(&self) -> impl Iterator<Item = &Target> {
        let now = self.begun.elapsed().as_millis() as u64;
        let first = self.turn.fetch_add(1, Relaxed) % self.all.len();
        let (before, after) = self.all.split_at(first);
        let turn = move || after.iter().chain(before);
        let aside = move |target: &&Target| target.aside.load(Relaxed) > now;
        let usual = turn().filter(move |target| !aside(target));
        usual.chain(turn().filter(aside))
    }
}

impl Target {
    /// As it was given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn of(address: &Address) -> Result<Self, Failure> {
        let place = match address {
            Address::Unix(path) => Place::Unix(path.clone()),
            Address::Host(host) => Place::Tcp(numbers(host, address)?),
            Address::Port(port) => Place::Tcp(vec![([127, 0, 0, 1], *port).into()]),
        };
        Ok(Self {
            name: address.to_string(),
            place,
            aside: AtomicU64::new(0),
        })
    }

    async fn connect(&self) -> io::Result<Socket> {
        loop {
            match self.connect_once().await {
                // It is not the target's fault, and passes.
                Err(error) if is_exhaustion(&error) => tokio::time::sleep(RESTING).await,
                done => return done,
            }
        }
    }

    async fn connect_once(&self) -> io::Result<Socket> {
        match &self.place {
            Place::Unix(path) => Ok(UnixStream::connect(path).await?.into()),
            Place::Tcp(numbers) => Ok(TcpStream::connect(numbers.as_slice()).await?.into()),
        }
    }
}

fn numbers(host: &str, address: &Address) -> Result<Vec<SocketAddr>, Failure> {
    let found = host.to_socket_addrs();
    let found = found.map_err(|error| Failure::failed(format_args!("--to {address}: {error}")))?;
    let numbers: Vec<_> = found.collect();
    if numbers.is_empty() {
        return Err(Failure::failed(format_args!(
            "--to {address}: the name has no address"
        )));
    }
    Ok(numbers)
}
