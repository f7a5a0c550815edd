//! A running program. It has a process group of its own. It is watched, its output is quoted when a
//! measurement fails, and it is killed with its children when this is dropped.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, kill_process, kill_process_group, pidfd_open};
use tempfile::TempDir;

use crate::error::{Context, Error, Result};
use crate::ready::readable;
use crate::run::{self, Invocation};
use crate::sys::{self, Usage};

/// How long a program may take until it listens, and from the end of its work to its own end.
const PATIENCE: Duration = Duration::from_secs(10);
/// Pause between two attempts to connect, during which its end is waited for.
const RETRY: Duration = Duration::from_millis(2);

pub(crate) struct Spawned {
    /// The file name of its program. A path would name directories of this machine, and this text
    /// is kept.
    name: String,
    /// `None` once it was waited for.
    child: Option<Child>,
    stdout: File,
    stderr: File,
    _work: TempDir,
}

impl Spawned {
    /// Starts it on this thread's processor. `work` is a directory for it, which is removed after
    /// it.
    pub(crate) fn start(invocation: &Invocation, work: TempDir, stdin: Stdio) -> Result<Self> {
        let name = Path::new(&invocation.program).file_name();
        let name = name.unwrap_or_default().to_string_lossy().into_owned();
        let (stdout, stderr) = (run::scratch()?, run::scratch()?);
        let mut command = Command::new(&invocation.program);
        command
            .args(&invocation.args)
            // Files that a program writes for itself, as Caddy does, must not go to the user's home
            // directory.
            .env("HOME", work.path())
            .env("XDG_DATA_HOME", work.path())
            .env("XDG_CONFIG_HOME", work.path())
            .stdin(stdin)
            .stdout(run::share(&stdout)?)
            .stderr(run::share(&stderr)?)
            // Its children are killed with it.
            .process_group(0);
        sys::die_with_parent(&mut command);
        let child = command.spawn().context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name,
            child: Some(child),
            stdout,
            stderr,
            _work: work,
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(crate) fn take_stdin(&mut self) -> Option<ChildStdin> {
        self.child.as_mut()?.stdin.take()
    }

    /// Tries until it works, or until the program has ended.
    pub(crate) fn patiently<T>(&mut self, attempt: impl FnMut() -> Option<T>) -> Result<T> {
        self.within(PATIENCE, attempt)
    }

    /// The same, for no longer than this.
    pub(crate) fn within<T>(
        &mut self,
        patience: Duration,
        mut attempt: impl FnMut() -> Option<T>,
    ) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(done) = attempt() {
                return Ok(done);
            }
            let died = self.ended_within(RETRY)?;
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            if died || started.elapsed() > patience {
                let (name, said) = (&self.name, run::last_line(&mut self.stderr)?);
                return Err(Error::new(format!("{name} does not listen: {said}")));
            }
        }
    }

    /// Adds to a failed measurement whether the program is still running, and what it printed last.
    pub(crate) fn explain<T>(&mut self, measured: Result<T>) -> Result<T> {
        measured.map_err(|error| {
            let state = match self.child.as_mut().map(Child::try_wait) {
                Some(Ok(Some(status))) => format!("it ended, {status}"),
                _ => "it still runs".to_owned(),
            };
            let said = run::last_line(&mut self.stderr).unwrap_or_default();
            Error::new(format!("{error} ({state}; last words: {said})"))
        })
    }

    /// Asks it to end.
    pub(crate) fn terminate(&self) {
        self.send(Signal::TERM);
    }

    /// Sends it a signal.
    pub(crate) fn send(&self, signal: Signal) {
        self.signal(|id| kill_process(id, signal));
    }

    /// Kills it and its children, so that nobody waits for them.
    pub(crate) fn kill(&self) {
        self.signal(|id| kill_process_group(id, Signal::KILL));
    }

    /// Waits until it has ended. Returns its status, what it used, and what it printed.
    pub(crate) fn finish(&mut self) -> Result<(ExitStatus, Usage, String)> {
        if !self.ended_within(PATIENCE)? {
            return self.explain(Err(Error::new("it does not end")));
        }
        let child = self.child.take().ok_or_else(gone)?;
        let (status, usage) = sys::wait4(child).context(|| "cannot wait for it".into())?;
        Ok((status, usage, run::contents(&mut self.stdout)?))
    }

    fn ended_within(&self, time: Duration) -> Result<bool> {
        let id = self.child.as_ref().map(Pid::from_child).ok_or_else(gone)?;
        let pidfd = pidfd_open(id, PidfdFlags::empty());
        readable(
            pidfd.context(|| format!("cannot watch {}", self.name))?,
            time,
        )
    }

    fn signal(&self, send: impl FnOnce(Pid) -> rustix::io::Result<()>) {
        if let Some(child) = &self.child {
            // This fails only if the process has ended.
            let _ = send(Pid::from_child(child));
        }
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.kill();
        if let Some(child) = &mut self.child {
            let _ = child.wait();
        }
    }
}

fn gone() -> Error {
    Error::new("it was waited for already")
}
