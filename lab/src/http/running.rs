//! A server under way: started, awaited, asked what it used, and gone when dropped.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tempfile::TempDir;

use super::servers::Start;
use crate::error::{Context, Error, Result};
use crate::{run, sys};

/// How long a server may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to connect, spent waiting for its death.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

pub(super) struct Running {
    child: Child,
    pub(super) addr: SocketAddr,
    stderr: File,
    _work: TempDir,
}

impl Running {
    /// Starts it on this thread's processor and waits until it accepts connections.
    pub(super) fn start(start: &Start, root: &Path) -> Result<Self> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let addr = free_address()?;
        let invocation = start.invocation(root, addr.port(), work.path())?;
        let name = invocation.program.to_string_lossy().into_owned();
        let stderr = run::scratch()?;
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(run::share(&stderr)?);
        sys::die_with_parent(&mut command);
        let child = command.spawn().context(|| format!("cannot start {name}"))?;
        let mut running = Self {
            child,
            addr,
            stderr,
            _work: work,
        };
        running.await_listening(&name)?;
        Ok(running)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time of all its threads so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        sys::cpu_time(self.pid()).context(|| "cannot read the server's CPU time".into())
    }

    /// What of its memory is resident now, in KiB.
    pub(super) fn resident_kib(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.pid());
        let status = fs::read_to_string(&path).context(|| format!("cannot read {path}"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.ok_or_else(|| Error::new(format!("{path} has no VmRSS")))
    }

    /// Adds to a failed measurement whether the server still runs and what it said last.
    pub(super) fn explain<T>(&mut self, measured: Result<T>) -> Result<T> {
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
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback port that was free a moment ago: none of the rivals can be asked which one it chose.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context(|| "cannot find a free port".into())
}

#[cfg(test)]
mod tests {
    use super::super::servers;
    use super::*;

    fn gone(pid: u32) -> bool {
        !Path::new(&format!("/proc/{pid}")).exists()
    }

    #[test]
    fn every_installed_rival_serves_and_is_gone_when_dropped() {
        let root = tempfile::tempdir().unwrap();
        for server in servers::all(None) {
            // The lab's own children are subcommands of the lab, which a test binary is not.
            let start = match server.start {
                Ok(start @ Start::Configured { .. }) => start,
                Ok(_) => continue,
                Err(why) => {
                    println!("skipped: {}: {why}", server.name);
                    continue;
                }
            };
            let mut running = Running::start(&start, root.path()).unwrap();
            assert!(running.resident_kib().unwrap() > 100, "{}", server.name);
            assert!(running.cpu().unwrap() > Duration::ZERO, "{}", server.name);
            let mut explained = || running.explain(Err::<(), _>(Error::new("broken")));
            let error = explained().unwrap_err().to_string();
            assert!(error.starts_with("broken (it still runs"), "{error}");
            let pid = running.pid();
            drop(running);
            assert!(gone(pid), "{}", server.name);
        }
    }

    #[test]
    fn a_server_that_ends_at_once_is_quoted() {
        let start = Start::Configured {
            program: "/bin/sh".into(),
            words: &["-c", "echo broken >&2"],
            template: "",
            settings: &[],
        };
        let error = Running::start(&start, Path::new("/")).err().unwrap();
        assert_eq!(error.to_string(), "/bin/sh does not listen: broken");
    }
}
