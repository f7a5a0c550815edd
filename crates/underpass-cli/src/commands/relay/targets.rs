//! The targets of a relay. Each is used in turn; if one cannot be reached, the next one is used.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use underpass::accept::{EXHAUSTION_PAUSE, is_exhaustion};
use underpass::connect::{Peer, connect_async};
use underpass::{StreamSocket, units};
use underpass_tls::Connector;

use super::metrics::RelayCounts;
use crate::args::{KtlsArgs, TlsClientArgs};
use crate::commands::connecting::refuse_port_0;
use crate::exit::Failure;
use crate::io::connection;
use crate::io::tls::{self, TlsClient};
use crate::report;
use crate::values::Address;

/// For this long, a target that could not be reached is tried only after all others.
const ASIDE: Duration = Duration::from_secs(5);

/// How long one client waits for a target that failed before. The attempt goes on without the
/// client, and the target is used again if it answers.
const PROBE: Duration = Duration::from_millis(250);

pub(super) struct Targets {
    all: Vec<Arc<Target>>,
    /// Counts connections, to find whose turn it is.
    turn: AtomicUsize,
    begun: Instant,
    notices: Notices,
}

/// What is said about targets that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notices {
    /// When one becomes unreachable, and when it is back.
    Changes,
    /// The first of the two.
    Failures,
    /// Nothing: each connection has its own line.
    None,
}

pub(super) struct Target {
    name: String,
    peer: Peer,
    /// The TLS that the relay begins with it.
    tls: Option<TlsClient>,
    /// When the target is tried again in turn, in milliseconds since the relay began. 0 if the last
    /// attempt reached it.
    aside: AtomicU64,
}

/// How long an attempt may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trial {
    /// The whole connect timeout.
    Full,
    /// [`PROBE`] for this client: the target failed before, and may be back. The attempt goes on
    /// after it.
    Probe,
}

impl Targets {
    /// Looks the host names up.
    pub(super) fn resolve(
        addresses: &[Address],
        tls: &TlsClientArgs,
        ktls: KtlsArgs,
        notices: Notices,
    ) -> Result<Self, Failure> {
        for (at, address) in addresses.iter().enumerate() {
            let name = address.short();
            refuse_port_0(address, "--to ")?;
            if addresses[..at].contains(address) {
                return Err(Failure::usage(format_args!(
                    "--to {name}: is named twice; each target has its turn once in a round"
                )));
            }
        }
        let all = addresses
            .iter()
            .map(|address| Target::of(address, tls, ktls).map(Arc::new));
        Ok(Self {
            all: all.collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            begun: Instant::now(),
            notices,
        })
    }

    /// Connects to the target whose turn it is, or to the next one that can be reached within
    /// `timeout`.
    pub(super) async fn connect(
        &self,
        timeout: Duration,
        header: &Arc<[u8]>,
        counts: &Arc<RelayCounts>,
    ) -> io::Result<(StreamSocket, &Target)> {
        let mut failures = Vec::new();
        for (target, trial) in self.order() {
            let reached = match trial {
                Trial::Full => self.try_one(target, timeout, header, counts).await,
                Trial::Probe => self.probe(target, timeout, header, counts).await,
            };
            match reached {
                Ok(socket) => return Ok((socket, target)),
                Err(error) => {
                    let advice = tls::advice(&error);
                    failures.push(format!("{}: {error}{advice}", target.name));
                }
            }
        }
        Err(io::Error::other(failures.join("; ")))
    }

    /// The targets and their names.
    pub(super) fn peers(&self) -> impl Iterator<Item = (&str, &Peer)> {
        self.all.iter().map(|target| (target.name(), &target.peer))
    }

    /// All targets in the order to try them, beginning with the one whose turn it is. Those that
    /// failed lately come last. After [`ASIDE`] one client at a time tries such a target in turn
    /// again.
    fn order(&self) -> Vec<(&Arc<Target>, Trial)> {
        let first = self.turn.fetch_add(1, Relaxed) % self.all.len();
        let now = self.now();
        let (before, after) = self.all.split_at(first);
        let (mut usual, mut last) = (Vec::with_capacity(self.all.len()), Vec::new());
        for target in after.iter().chain(before) {
            match target.aside.load(Relaxed) {
                0 => usual.push((target, Trial::Full)),
                until if until <= now && target.put_aside(until, now) => {
                    usual.push((target, Trial::Probe));
                }
                _ => last.push((target, Trial::Full)),
            }
        }
        usual.append(&mut last);
        // If there is a single target, it gets the whole timeout.
        if let [(_, trial)] = &mut usual[..] {
            *trial = Trial::Full;
        }
        usual
    }

    async fn try_one(
        &self,
        target: &Target,
        timeout: Duration,
        header: &[u8],
        counts: &RelayCounts,
    ) -> io::Result<StreamSocket> {
        let reached = target.connect_within(timeout, header, counts).await;
        match &reached {
            Ok(_) => target.is_back(self.notices),
            Err(error) => {
                let until = self.now() + ASIDE.as_millis() as u64;
                if target.aside.swap(until, Relaxed) == 0 && self.notices != Notices::None {
                    let name = target.name();
                    report::notice(format_args!("target {name} cannot be reached: {error}"));
                }
            }
        }
        reached
    }

    /// Tries a target that failed before. The attempt goes on when this client stops waiting; its
    /// connection is closed then.
    async fn probe(
        &self,
        target: &Arc<Target>,
        timeout: Duration,
        header: &Arc<[u8]>,
        counts: &Arc<RelayCounts>,
    ) -> io::Result<StreamSocket> {
        let (asked, counts) = (Arc::clone(target), Arc::clone(counts));
        let (header, notices) = (Arc::clone(header), self.notices);
        let mut attempt = tokio::spawn(async move {
            let reached = asked.connect_within(timeout, &header, &counts).await;
            if reached.is_ok() {
                asked.is_back(notices);
            }
            reached
        });
        match tokio::time::timeout(PROBE.min(timeout), &mut attempt).await {
            Ok(reached) => reached.map_err(io::Error::other)?,
            Err(_) => Err(unanswered(PROBE)),
        }
    }

    /// Milliseconds since the relay began, from 1 on.
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64 + 1
    }
}

impl Target {
    /// The address as it was given.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn of(address: &Address, tls: &TlsClientArgs, ktls: KtlsArgs) -> Result<Self, Failure> {
        let name = address.short();
        let tls = address.tls().map(|to| TlsClient::new(to, tls, ktls));
        let tls = tls.transpose()?;
        let peer = connection::resolve(address)
            .map_err(|error| Failure::failed(format_args!("--to {name}: {error}")))?;
        Ok(Self {
            name,
            peer,
            tls,
            aside: AtomicU64::new(0),
        })
    }

    /// Notes that it was reached.
    fn is_back(&self, notices: Notices) {
        if self.aside.swap(0, Relaxed) != 0 && notices == Notices::Changes {
            report::notice(format_args!("target {} is reached again", self.name));
        }
    }

    /// Sets the target aside again. Returns false if another connection has done so meanwhile.
    fn put_aside(&self, before: u64, now: u64) -> bool {
        let until = now + ASIDE.as_millis() as u64;
        self.aside
            .compare_exchange(before, until, Relaxed, Relaxed)
            .is_ok()
    }

    async fn connect_within(
        &self,
        timeout: Duration,
        header: &[u8],
        counts: &RelayCounts,
    ) -> io::Result<StreamSocket> {
        let reached = tokio::time::timeout(timeout, self.open(header)).await;
        let reached = reached.unwrap_or_else(|_| Err(unanswered(timeout)));
        if reached.is_err() {
            counts.connects_failed.add(1);
        }
        reached
    }

    /// Connects, sends `header`, and begins TLS after it, as HAProxy does.
    async fn open(&self, header: &[u8]) -> io::Result<StreamSocket> {
        let socket = self.connect().await?;
        // Messages are passed on as they come, so Nagle's algorithm is turned off.
        if let Some(socket) = socket.tcp() {
            socket.set_nodelay(true)?;
        }
        write_all(&socket, header).await?;
        match (&self.tls, socket) {
            (Some(tls), StreamSocket::Tcp(socket)) => {
                let connector = Connector::new(tls.config.clone());
                Ok(connector.connect(&tls.host, socket).await?.into())
            }
            (_, socket) => Ok(socket),
        }
    }

    async fn connect(&self) -> io::Result<StreamSocket> {
        loop {
            match connect_async(&self.peer).await {
                // A shortage of descriptors or memory on this machine passes, and is not the
                // target's fault.
                Err(error) if is_exhaustion(&error) => tokio::time::sleep(EXHAUSTION_PAUSE).await,
                done => return done,
            }
        }
    }
}

async fn write_all(socket: &StreamSocket, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let written = match socket {
            StreamSocket::Tcp(socket) => {
                socket.writable().await?;
                socket.try_write(bytes)
            }
            StreamSocket::Unix(socket) => {
                socket.writable().await?;
                socket.try_write(bytes)
            }
            StreamSocket::Tls(_) => {
                return Err(io::Error::other("the header goes before TLS, not into it"));
            }
        };
        match written {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn unanswered(timeout: Duration) -> io::Error {
    let line = format!("no answer in {}", units::duration(timeout));
    io::Error::new(io::ErrorKind::TimedOut, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(count: usize) -> Targets {
        let addresses: Vec<_> = (0..count)
            .map(|port| format!("127.0.0.1:{}", port + 1).parse().unwrap())
            .collect();
        let (tls, ktls) = (TlsClientArgs::default(), KtlsArgs::default());
        Targets::resolve(&addresses, &tls, ktls, Notices::None).unwrap()
    }

    fn order(targets: &Targets) -> Vec<(u16, Trial)> {
        let number = |target: &Target| match &target.peer {
            Peer::Tcp(numbers) => numbers[0].port(),
            _ => unreachable!("all are TCP's"),
        };
        let order = targets.order();
        order
            .iter()
            .map(|(target, trial)| (number(target), *trial))
            .collect()
    }

    use Trial::{Full, Probe};

    #[test]
    fn each_has_its_turn_and_is_tried_once_in_a_round() {
        let targets = targets(3);
        assert_eq!(order(&targets), [(1, Full), (2, Full), (3, Full)]);
        // The target fails in the middle of a round. The list of that round stays as it is.
        targets.all[1].aside.store(u64::MAX, Relaxed);
        assert_eq!(order(&targets), [(3, Full), (1, Full), (2, Full)]);
        assert_eq!(order(&targets), [(3, Full), (1, Full), (2, Full)]);
    }

    #[test]
    fn one_that_has_been_aside_is_probed_by_one_client() {
        let targets = targets(2);
        targets.all[0].aside.store(1, Relaxed);
        assert_eq!(order(&targets), [(1, Probe), (2, Full)]);
        for _ in 0..3 {
            assert_eq!(order(&targets), [(2, Full), (1, Full)]);
        }
    }

    #[test]
    fn the_only_one_is_waited_for() {
        let targets = targets(1);
        targets.all[0].aside.store(1, Relaxed);
        assert_eq!(order(&targets), [(1, Full)]);
    }
}
