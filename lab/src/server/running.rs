//! A running server or relay: it is started, waited for, asked what it used, and killed when this
//! is dropped.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use super::routes;
use crate::bench::Bench;
use crate::contender::{Contender, Places};
use crate::error::{Context, Error, Result};
use crate::process;
use crate::spawned::Spawned;

pub(crate) struct Running {
    program: Spawned,
    pub(crate) addr: SocketAddr,
    /// The address of its metrics and the name of the counter of bytes by route, if it has one.
    metrics: Option<(SocketAddr, String)>,
    /// The counter of bytes from its cache, at the same address.
    from_cache: Option<String>,
}

impl Running {
    /// Starts a server on this thread's processor and waits until it accepts connections.
    pub(crate) fn start(bench: &Bench, who: &Contender) -> Result<Self> {
        Self::start_at(bench, who, Places::default())
    }

    /// The same, where more is filled in than what every server is told.
    pub(crate) fn start_at(bench: &Bench, who: &Contender, places: Places) -> Result<Self> {
        // Started by root, h2o becomes nobody, who may not read our directory.
        let root = rustix::process::geteuid().is_root();
        let user = if root { "root" } else { "nobody" };
        let places = places
            .with("ROOT", &bench.root.display())
            .with("USER", &user);
        Self::listening(bench, who, places)
    }

    /// The same for a relay, which passes connections on to `target`.
    pub(crate) fn relay(bench: &Bench, who: &Contender, target: SocketAddr) -> Result<Self> {
        Self::listening(bench, who, Places::default().with("TARGET", &target))
    }

    fn listening(bench: &Bench, who: &Contender, places: Places) -> Result<Self> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let [addr, metrics] = free_addresses()?;
        let places = places
            .with("WORK", &work.path().display())
            .with("ADDR", &addr)
            .with("PORT", &addr.port())
            .with("METRICS", &metrics);
        let invocation = bench.invocation(who, places)?;
        let mut program = Spawned::start(&invocation, work, Stdio::null())?;
        program.patiently(|| TcpStream::connect(addr).ok())?;
        let counter = who.row.metric.clone();
        Ok(Self {
            program,
            addr,
            metrics: counter.map(|name| (metrics, name)),
            from_cache: who.row.from_cache.clone(),
        })
    }

    /// The process and its children.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        process::family(self.program.pid())
    }

    /// User and system time of all its threads and children so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        process::cpu(self.program.pid())
    }

    /// The resident memory of it and its children, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        process::resident_kib(self.program.pid())
    }

    /// Bytes that it has sent so far, by route; empty if it does not report them.
    pub(crate) fn routes(&self) -> Result<BTreeMap<String, u64>> {
        match &self.metrics {
            Some((addr, name)) => routes::ask(*addr, name),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Fails if it says that fewer than `bytes` of bodies came from its cache.
    pub(crate) fn check_cache(&self, bytes: u64) -> Result<()> {
        let (Some((addr, _)), Some(name)) = (&self.metrics, &self.from_cache) else {
            return Ok(());
        };
        let told = routes::counter(*addr, name)?;
        if told >= bytes {
            return Ok(());
        }
        Err(Error::new(format!(
            "not from its cache: {bytes} bytes arrived, and {told} came from there"
        )))
    }

    /// Adds to a failed measurement whether the server is still running, and what it printed last.
    pub(crate) fn explain<T>(&mut self, measured: Result<T>) -> Result<T> {
        self.program.explain(measured)
    }
}

/// Different loopback ports that were free a moment ago. No rival can be asked which port it chose.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All at once: a port that is released may be given out again.
    let listeners: io::Result<Vec<_>> = (0..N).map(listen).collect();
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    let name = || {
        for (address, listener) in addresses.iter_mut().zip(listeners?) {
            *address = listener.local_addr()?;
        }
        Ok::<_, io::Error>(())
    };
    name().context(|| "cannot find a free port".into())?;
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::commands::Commands;
    use crate::contender::{self, Row};
    use crate::http::store::Store;
    use crate::pin::Pinning;
    use crate::scenario::Race;
    use crate::{scenario, testfile};

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Starts the contender on a bench of its own, and passes it to `see`.
    fn with<T>(who: &Contender, see: impl FnOnce(Result<Running>) -> T) -> T {
        let root = tempfile::tempdir().unwrap();
        testfile::open_to_all(root.path()).unwrap();
        let scenario = &scenario::named(&["http-small".to_owned()]).unwrap()[0];
        let bench = Bench {
            scenario,
            root: root.path(),
            pinning: Pinning::new(false).unwrap(),
            underpass: None,
            before: None,
            commands: &Commands::default(),
        };
        let store = Store::start(root.path());
        let places = store.places(who, Places::default()).unwrap();
        see(Running::start_at(&bench, who, places))
    }

    #[test]
    fn every_installed_rival_serves_and_is_gone_with_its_children_when_dropped() {
        for who in contender::all(Race::Http, None).unwrap() {
            // The lab's own children are subcommands of the lab, and a test binary has none.
            if who.row.program == "lab" {
                continue;
            }
            if let Err(why) = &who.program {
                println!("skipped: {}: {why}", who.name());
                continue;
            }
            let pids = with(&who, |running| {
                let mut running = running.unwrap();
                assert!(running.resident_kib().unwrap() > 100, "{}", who.name());
                assert!(running.cpu().unwrap() > Duration::ZERO, "{}", who.name());
                assert!(running.routes().unwrap().is_empty(), "{}", who.name());
                let mut explained = || running.explain(Err::<(), _>(Error::new("broken")));
                let error = explained().unwrap_err().to_string();
                assert!(error.starts_with("broken (it still runs"), "{error}");
                let started = Instant::now();
                // Its worker is a child process, which may start after it listens.
                while who.name() == "Apache" && running.processes().unwrap().len() < 2 {
                    assert!(started.elapsed() < PATIENCE, "it has no child");
                }
                running.processes().unwrap()
            });
            let started = Instant::now();
            // An orphan is gone once init has waited for it.
            while let Some(pid) = pids.iter().find(|pid| alive(**pid)) {
                assert!(
                    started.elapsed() < PATIENCE,
                    "{}: {pid} runs on",
                    who.name()
                );
            }
        }
    }

    fn alive(pid: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    }

    #[test]
    fn a_server_that_ends_at_once_is_quoted() {
        let row: Row = toml::from_str("words = ['-c', 'echo broken >&2']").unwrap();
        let who = Contender {
            row,
            program: Ok("/bin/sh".into()),
        };
        let error = with(&who, |running| running.err().unwrap());
        assert_eq!(error.to_string(), "sh does not listen: broken");
    }
}
