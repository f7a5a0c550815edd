//! A relay under way: started, awaited, asked what it used and what went which way, and gone when dropped.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tempfile::TempDir;

use super::contenders::{Places, Start};
use crate::error::{Context, Error, Result};
use crate::{process, run, sys};

/// How long a relay may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to connect, spent waiting for its death.
const RETRY: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 2_000_000,
};

pub(crate) struct Running {
    child: Child,
    pub(crate) addr: SocketAddr,
    /// Where it tells what it carried by which route, if it does.
    metrics: Option<SocketAddr>,
    stderr: File,
    _work: TempDir,
}

/// Bytes that a relay passed on so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Carried {
    pub(crate) spliced: u64,
    pub(crate) copied: u64,
}

impl Running {
    /// Starts it on this thread's processor, to pass on to `target`, and waits until it accepts connections.
    pub(crate) fn start(start: &Start, target: SocketAddr) -> Result<Self> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let (addr, metrics) = (free_address()?, free_address()?);
        let invocation = start.invocation(&Places {
            work: work.path(),
            addr,
            target,
            metrics,
        })?;
        let name = invocation.program.to_string_lossy().into_owned();
        let stderr = run::scratch()?;
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.args)
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
            metrics: start.tells_routes.then_some(metrics),
            stderr,
            _work: work,
        };
        running.await_listening(&name)?;
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// User and system time of all its threads and children so far.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        process::cpu(self.pid())
    }

    /// What of its memory, and of its children's, is resident now, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        process::resident_kib(self.pid())
    }

    /// What it says it carried; none where it does not tell.
    pub(crate) fn carried(&self) -> Result<Option<Carried>> {
        let Some(addr) = self.metrics else {
            return Ok(None);
        };
        let page = ask(addr).context(|| "cannot ask the relay for its metrics".into())?;
        let route = |name: &str| {
            let key = format!("underpass_relay_carried_bytes_total{{route=\"{name}\"}} ");
            let count = page.lines().find_map(|line| line.strip_prefix(&key));
            let missing = || Error::new(format!("the relay's metrics tell nothing of {name}"));
            count.and_then(|count| count.parse().ok()).ok_or_else(missing)
        };
        Ok(Some(Carried {
            spliced: route("splice")?,
            copied: route("read-write")?,
        }))
    }

    /// Adds to a failed measurement whether the relay still runs and what it said last.
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

/// A loopback port that was free a moment ago: none of the rivals can be asked which one it chose.
fn free_address() -> Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .context(|| "cannot find a free port".into())
}

fn ask(addr: SocketAddr) -> std::io::Result<String> {
    let mut socket = TcpStream::connect(addr)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n")?;
    let mut page = String::new();
    socket.read_to_string(&mut page)?;
    Ok(page)
}
