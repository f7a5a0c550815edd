//! A program that listens, under way: started, awaited, asked what it used, and gone when dropped.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tempfile::TempDir;

use super::routes;
use super::start::{Places, Start};
use crate::bench::{Bench, Contender};
use crate::error::{Context, Error, Result};
use crate::{process, run, sys};

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to connect, spent waiting for its death.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

pub(crate) struct Running {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Where it tells what it sent by which route, if it does.
    metrics: Option<(SocketAddr, &'static str)>,
    stderr: File,
    _work: TempDir,
}

impl Running {
    /// Starts it on this thread's processor and waits until it accepts connections.
    pub(crate) fn start(bench: &Bench, who: &Contender<Start>, start: &Start) -> Result<Self> {
        Self::start_to(bench, who, start, None)
    }

    /// The same for a relay, which passes on to `target`.
    pub(crate) fn start_to(
        bench: &Bench,
        who: &Contender<Start>,
        start: &Start,
        target: Option<SocketAddr>,
    ) -> Result<Self> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let [addr, metrics] = free_addresses()?;
        let (invocation, configuration) = start.invocation(&Places {
            root: bench.root,
            work: work.path(),
            addr,
            metrics,
            target,
        })?;
        let note = configuration.as_deref();
        bench.commands.note(who.name, &invocation, note);
        // A path would be one of this machine, and what is said here is kept.
        let name = Path::new(&invocation.program).file_name();
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let stderr = run::scratch()?;
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.args)
            // What a server writes for itself, as Caddy does, is not for the user's home.
            .env("HOME", work.path())
            .env("XDG_DATA_HOME", work.path())
            .env("XDG_CONFIG_HOME", work.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(run::share(&stderr)?)
            // Its children are killed with it.
            .process_group(0);
        sys::die_with_parent(&mut command);
        let child = command.spawn().context(|| format!("cannot start {name}"))?;
        let mut running = Self {
            child,
            addr,
            metrics: start.routes.map(|name| (metrics, name)),
            stderr,
            _work: work,
        };
        running.await_listening(&name)?;
        Ok(running)
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// It and its children.
    pub(crate) fn processes(&self) -> Result<Vec<u32>> {
        process::family(self.pid())
    }

    /// User and system time of all its threads and children so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid())
    }

    /// What of its memory, and of its children's, is resident now, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        process::resident_kib(self.pid())
    }

    /// Bytes that it sent so far, by route; none where it does not tell.
    pub(crate) fn routes(&self) -> Result<BTreeMap<String, u64>> {
        match self.metrics {
            Some((addr, name)) => routes::ask(addr, name),
            None => Ok(BTreeMap::new()),
        }
    }

    /// Adds to a failed measurement whether the server still runs and what it said last.
    pub(crate) fn explain<T>(&mut self, measured: Result<T>) -> Result<T> {
        measured.map_err(|error| {
            let state = match self.child.try_wait() {
                Ok(Some(status)) => format!("it ended, {status}"),
                _ => "it still runs".to_owned(),
            };
            let said = run::last_line(&mut self.stderr).unwrap_or_default();
            Error::new(format!("{error} ({state}; last words: {said})"))
        })
    }

    fn await_listening(&mut self, name: &str) -> Result<()> {
        let pidfd = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())
            .context(|| format!("cannot watch {name}"))?;
        let started = Instant::now();
        while TcpStream::connect(self.addr).is_err() {
            let died = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&RETRY));
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            if died == Ok(1) || started.elapsed() > PATIENCE {
                let said = run::last_line(&mut self.stderr)?;
                return Err(Error::new(format!("{name} does not listen: {said}")));
            }
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// Different loopback ports that were free a moment ago: none of the rivals can be asked which one
/// it chose.
pub(crate) fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    let listen = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All at once: one that is let go of may be given again.
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
    use super::*;
    use crate::commands::Commands;
    use crate::http::servers;
    use crate::pin::Pinning;
    use crate::record::Side;
    use crate::{scenario, testfile};

    /// Starts it on a bench of its own, and shows it.
    fn with<T>(who: &Contender<Start>, see: impl FnOnce(Result<Running>) -> T) -> T {
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
        let start = who.program.as_ref().unwrap();
        see(Running::start(&bench, who, start))
    }

    #[test]
    fn every_installed_rival_serves_and_is_gone_with_its_children_when_dropped() {
        for who in servers::all(None) {
            let lab = std::env::current_exe().unwrap();
            match &who.program {
                // The lab's own children are subcommands of the lab, which a test binary is not.
                Ok(start) if start.program == lab => continue,
                Ok(_) => {}
                Err(why) => {
                    println!("skipped: {}: {why}", who.name);
                    continue;
                }
            }
            let pids = with(&who, |running| {
                let mut running = running.unwrap();
                assert!(running.resident_kib().unwrap() > 100, "{}", who.name);
                assert!(running.cpu().unwrap() > Duration::ZERO, "{}", who.name);
                assert!(running.routes().unwrap().is_empty(), "{}", who.name);
                let mut explained = || running.explain(Err::<(), _>(Error::new("broken")));
                let error = explained().unwrap_err().to_string();
                assert!(error.starts_with("broken (it still runs"), "{error}");
                let started = Instant::now();
                // Its worker is a child, and comes after it listens.
                while who.name == "Apache" && running.processes().unwrap().len() < 2 {
                    assert!(started.elapsed() < PATIENCE, "it has no child");
                }
                running.processes().unwrap()
            });
            let started = Instant::now();
            // An orphan is gone once init has reaped it.
            while let Some(pid) = pids.iter().find(|pid| alive(**pid)) {
                assert!(started.elapsed() < PATIENCE, "{}: {pid} runs on", who.name);
            }
        }
    }

    fn alive(pid: u32) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"));
        status.is_ok_and(|status| !status.contains("State:\tZ"))
    }

    #[test]
    fn a_server_that_ends_at_once_is_quoted() {
        let start = Start {
            program: Path::new("/bin/sh").to_owned(),
            words: &["-c", "echo broken >&2"],
            template: None,
            settings: &[],
            routes: None,
        };
        let who = Contender::new("x", Side::Rival, Ok(start));
        let error = with(&who, |running| running.err().unwrap());
        assert_eq!(error.to_string(), "sh does not listen: broken");
    }
}
