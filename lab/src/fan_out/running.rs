//! Who hands out, under way: started, awaited, its subscribers with it, and what it used and says
//! it did in the end.

use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tempfile::TempDir;

use super::contenders::{Places, Start};
use super::producer::{From, Place, Producer};
use super::readers::{Readers, Waiting, readable};
use crate::bench::Bench;
use crate::error::{Context, Error, Result};
use crate::server::running::free_addresses;
use crate::{process, run, sys};

/// How long one may take until it listens, and from the end of the stream to its own.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two tries to connect.
const RETRY: Duration = Duration::from_millis(2);

/// A process, and who is connected to it.
pub(super) struct Running {
    child: Option<Child>,
    ends: bool,
    stdout: File,
    stderr: File,
    /// What it had used, and when, as the first subscriber was there.
    pub(super) before: (Duration, Instant),
    _work: TempDir,
}

/// One that has ended.
pub(super) struct Finished {
    pub(super) stdout: String,
    pub(super) cpu_s: f64,
}

/// What is handed out.
#[derive(Clone, Copy)]
pub(super) enum What<'a> {
    Stream(From),
    File(&'a Path),
}

impl Running {
    /// Starts it on this thread's processor, and connects the producer and all subscribers.
    pub(super) fn start(
        bench: &Bench,
        name: &str,
        start: &Start,
        what: What<'_>,
        subscribers: usize,
    ) -> Result<(Self, Producer, Readers)> {
        let work = tempfile::tempdir().context(|| "cannot make a directory".into())?;
        let within = work.path().to_owned();
        let waiting = Waiting::listen(if start.connects() { subscribers } else { 0 })?;
        let [listen, from] = free_addresses()?;
        let places = Places {
            listen,
            subscribers,
            source: source(what, &within, from),
            file: match what {
                What::File(path) => Some(path),
                What::Stream(_) => None,
            },
            work: &within,
            ports: waiting.ports()?,
        };
        let invocation = start.invocation(&places);
        bench.commands.note(name, &invocation, None);
        let (stdout, stderr) = (run::scratch()?, run::scratch()?);
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.args)
            .stdin(Stdio::piped())
            .stdout(run::share(&stdout)?)
            .stderr(run::share(&stderr)?)
            // Its children are killed with it.
            .process_group(0);
        sys::die_with_parent(&mut command);
        let mut child = command.spawn().context(|| format!("cannot start {name}"))?;
        let stdin = child.stdin.take();
        let mut running = Self {
            child: Some(child),
            ends: start.ends,
            stdout,
            stderr,
            before: (Duration::ZERO, Instant::now()),
            _work: work,
        };
        let joined = running.join(waiting, start, &places, stdin);
        let (producer, readers) = running.explain(joined)?;
        Ok((running, producer, readers))
    }

    fn join(
        &mut self,
        waiting: Waiting,
        start: &Start,
        places: &Places<'_>,
        stdin: Option<std::process::ChildStdin>,
    ) -> Result<(Producer, Readers)> {
        let mut stdin = stdin;
        if start.connects() {
            let connect = || Producer::connect(&places.source, &mut stdin).ok();
            let producer = self.patiently(connect)?;
            let readers = waiting.accept()?;
            self.before = (process::cpu(self.pid())?, Instant::now());
            return Ok((producer, readers));
        }
        // The first to connect is a subscriber already: who only looked whether somebody listens
        // would be one too.
        let first = self.patiently(|| TcpStream::connect(places.listen).ok())?;
        self.before = (process::cpu(self.pid())?, Instant::now());
        let readers = Readers::connect(first, places.listen, places.subscribers)?;
        Ok((Producer::connect(&places.source, &mut stdin)?, readers))
    }

    /// Tries until it works, or the process has ended.
    fn patiently<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(done) = attempt() {
                return Ok(done);
            }
            let died = self.ended_within(RETRY)?;
            if died || sys::interrupted() || started.elapsed() > PATIENCE {
                return Err(Error::new("it does not listen"));
            }
        }
    }

    /// Waits for its end, or brings it about, and returns its account.
    pub(super) fn finish(mut self) -> Result<Finished> {
        if !self.ends {
            let _ = kill_process(self.id()?, Signal::TERM);
        }
        if !self.ended_within(PATIENCE)? {
            return self.explain(Err(Error::new("it does not end")));
        }
        let child = self.child.take().ok_or_else(gone)?;
        let (status, usage) = sys::wait4(child).context(|| "cannot wait for it".into())?;
        if self.ends && !status.success() {
            return self.explain(Err(Error::new(format!("it failed ({status})"))));
        }
        let used = usage.user_s + usage.system_s;
        Ok(Finished {
            stdout: run::contents(&mut self.stdout)?,
            cpu_s: used - self.before.0.as_secs_f64(),
        })
    }

    /// Adds to a failed measurement what it said last.
    pub(super) fn explain<T>(&mut self, measured: Result<T>) -> Result<T> {
        measured.map_err(|error| {
            let said = run::last_line(&mut self.stderr).unwrap_or_default();
            Error::new(format!("{error} (last words: {said})"))
        })
    }

    /// Ends it at once, so that nobody waits for it.
    pub(super) fn kill(&self) {
        if let Ok(id) = self.id() {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    fn id(&self) -> Result<Pid> {
        self.child.as_ref().map(Pid::from_child).ok_or_else(gone)
    }

    fn ended_within(&self, time: Duration) -> Result<bool> {
        let pidfd = pidfd_open(self.id()?, PidfdFlags::empty());
        readable(pidfd.context(|| "cannot watch a process".into())?, time)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
            let _ = child.wait();
        }
    }
}

fn gone() -> Error {
    Error::new("it was waited for already")
}

/// Where the producer will connect.
fn source(what: What<'_>, work: &Path, free: SocketAddr) -> Place {
    match what {
        What::File(_) | What::Stream(From::Pipe) => Place::Stdin,
        What::Stream(From::Tcp) => Place::Tcp(free),
        What::Stream(From::Unix) => Place::Unix(work.join("producer")),
    }
}
