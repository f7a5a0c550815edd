//! Runs the binary, and records its outcome.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Once};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, geteuid, getrlimit, pidfd_open, prlimit,
};

use signal_hook::flag::register_conditional_shutdown;

use super::{Dir, Receipt, needs};

/// No run in a passing test takes this long, so a test that hangs fails.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// The binary with empty standard input and collected output.
pub(crate) fn underpass(args: &[&str]) -> Command {
    let mut command = collected(PROGRAM);
    command.args(args);
    command
}

/// The same, started by `program` with the arguments `before`.
pub(crate) fn underpass_by(program: &str, before: &[&str], args: &[&str]) -> Command {
    let mut command = collected(program);
    command.args(before).arg(PROGRAM).args(args);
    command
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_underpass");

/// Any program with empty standard input and collected output.
pub(crate) fn collected(program: &str) -> Command {
    SIGNALS.call_once(default_signals);
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The same as an unprivileged user, if it can be run so.
pub(crate) fn unprivileged(args: &[&str]) -> Option<Command> {
    match without_rights(underpass(&["--version"])).output() {
        Ok(_) => Some(without_rights(underpass(args))),
        Err(error) => {
            needs::lacking(&format!(
                "the program cannot be run by another user: {error}"
            ));
            None
        }
    }
}

/// Runs `command` as an unprivileged user, who becomes the owner of `dir`.
pub(crate) fn nobody(command: Command, dir: &Dir) -> Command {
    if geteuid().is_root() {
        std::os::unix::fs::chown(dir.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    without_rights(command)
}

fn without_rights(mut command: Command) -> Command {
    if geteuid().is_root() {
        // Changing the user also drops all groups and capabilities.
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// The user "nobody" (systemd's and Debian's).
const NOBODY: u32 = 65534;

static SIGNALS: Once = Once::new();

/// Lets child processes start with default signal handling, even if the shell that runs the tests
/// in the background made them ignore signals. A signal that this process handles, even just by
/// ending, is reset to its default in child processes (execve(2)).
fn default_signals() {
    for signal in [Signal::INT, Signal::HUP, Signal::TERM] {
        let (number, always) = (signal.as_raw(), Arc::new(AtomicBool::new(true)));
        register_conditional_shutdown(number, 128 + number, always).unwrap();
    }
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Outcome {
    Running::start(underpass(args)).finish()
}

/// A running program. It is killed if the test drops this.
pub(crate) struct Running {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: BufReader<ChildStderr>,
    command: String,
}

impl Running {
    /// Starts any program whose standard error is a pipe.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        Self {
            stdout: child.stdout.take(),
            stderr: BufReader::new(child.stderr.take().unwrap()),
            child,
            command: format!("{command:?}"),
        }
    }

    /// Starts `underpass recv` and waits until it listens. Returns the address too.
    pub(crate) fn recv(args: &[&str]) -> (Self, String) {
        let args = [&["recv"], args].concat();
        Self::listening(underpass(&args))
    }

    /// Starts a receiver and waits for its line "underpass: listening on ADDR".
    pub(crate) fn listening(command: Command) -> (Self, String) {
        let mut running = Self::start(command);
        let line = running.line();
        let address = line.strip_prefix("underpass: listening on ");
        let address = address.unwrap_or_else(|| panic!("{}: {line:?}", running.command));
        (running, address.to_owned())
    }

    /// The next line of standard error.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let read = self.part_of_line();
            let end = read.iter().position(|byte| *byte == b'\n');
            let count = end.map_or(read.len(), |end| end + 1);
            line.extend(&read[..count]);
            self.stderr.consume(count);
            if count == 0 {
                break;
            }
        }
        assert!(!line.is_empty(), "{}: ended without a line", self.command);
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    /// What has come of standard error; nothing at its end.
    #[track_caller]
    fn part_of_line(&mut self) -> &[u8] {
        if self.stderr.buffer().is_empty() {
            let mut readable = [PollFd::new(self.stderr.get_ref(), PollFlags::IN)];
            let ready = poll(&mut readable, Some(&PATIENCE));
            assert_ne!(ready, Ok(0), "{}: it says nothing", self.command);
        }
        self.stderr.fill_buf().unwrap()
    }

    /// Its standard input, if that is a pipe.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Its standard output, for the test to read itself.
    pub(crate) fn stdout(&mut self) -> ChildStdout {
        self.stdout.take().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// How many descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        let path = format!("/proc/{}/fd", self.child.id());
        std::fs::read_dir(path).unwrap().count()
    }

    /// How many ends of pipes it has open, and how many other descriptors.
    pub(crate) fn pipes_and_others(&self) -> (usize, usize) {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
        let (pipes, others): (Vec<_>, Vec<_>) =
            links.partition(|link| link.to_string_lossy().starts_with("pipe:"));
        (pipes.len(), others.len())
    }

    /// Sets its limit so that it can open no further descriptor. Returns the previous limit, which
    /// was the highest.
    pub(crate) fn forbid_descriptors(&self) -> Rlimit {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let taken: Vec<u64> = names.map(|name| name.parse().unwrap()).collect();
        let maximum = getrlimit(Resource::Nofile).maximum;
        self.limit_descriptors(Rlimit {
            current: (0..1 << 16).find(|number| !taken.contains(number)),
            maximum,
        })
    }

    /// Sets the limit of its descriptors, and returns the previous one.
    pub(crate) fn limit_descriptors(&self, limit: Rlimit) -> Rlimit {
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap()
    }

    /// Bytes of its own memory that are resident: without its code, which is large in a debug
    /// build.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let own = |line: &&str| line.starts_with("RssAnon:") || line.starts_with("RssShmem:");
        let kib = |line: &str| {
            line.split_whitespace()
                .nth(1)
                .unwrap()
                .parse::<u64>()
                .unwrap()
        };
        status.lines().filter(own).map(kib).sum::<u64>() << 10
    }

    /// Waits until it sleeps, waiting for something itself. No event says so, so this polls. A
    /// program that spins fails the test.
    #[track_caller]
    pub(crate) fn await_sleep(&self) {
        for _ in 0..1_000_000 {
            if self.sleeps() {
                return;
            }
            std::thread::yield_now();
        }
        panic!("{}: it never sleeps", self.command);
    }

    /// Whether it sleeps, waiting for something.
    #[track_caller]
    pub(crate) fn sleeps(&self) -> bool {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        assert!(!status.contains("State:\tZ"), "{}: ended", self.command);
        status.contains("State:\tS")
    }

    /// Whether it is still running.
    pub(crate) fn is_alive(&self) -> bool {
        let path = format!("/proc/{}/status", self.child.id());
        std::fs::read_to_string(path).is_ok_and(|status| !status.contains("State:\tZ"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has a descriptor of each of `kinds`, which are parts of the links in /proc.
    /// No event says so, so this polls.
    pub(crate) fn await_descriptors(&self, kinds: &[&str]) {
        let proc = format!("/proc/{}", self.pid());
        loop {
            let status = std::fs::read_to_string(format!("{proc}/status")).unwrap();
            assert!(!status.contains("State:\tZ"), "{}: ended", self.command);
            let entries = std::fs::read_dir(format!("{proc}/fd")).unwrap();
            let links: Vec<_> = entries
                .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
                .map(|link| link.to_string_lossy().into_owned())
                .collect();
            if kinds
                .iter()
                .all(|kind| links.iter().any(|link| link.contains(kind)))
            {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// Collects the rest of its output and waits for its end.
    pub(crate) fn finish(mut self) -> Outcome {
        drop(self.child.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), String::new());
        let end = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty()).unwrap();
        std::thread::scope(|scope| {
            if let Some(mut pipe) = self.stdout.take() {
                let into = &mut stdout;
                scope.spawn(move || pipe.read_to_end(into).unwrap());
            }
            let (pipe, into) = (&mut self.stderr, &mut stderr);
            scope.spawn(move || pipe.read_to_string(into).unwrap());
            let mut ended = [PollFd::new(&end, PollFlags::IN)];
            if poll(&mut ended, Some(&PATIENCE)) == Ok(0) {
                let _ = self.child.kill();
            }
        });
        Outcome {
            code: shell_code(self.child.wait().unwrap()),
            stdout,
            stderr,
            command: self.command.clone(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn shell_code(status: ExitStatus) -> i32 {
    let by_signal = status.signal().map(|signal| 128 + signal);
    status.code().or(by_signal).unwrap()
}

/// How a program ended, and its output that was not read before.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The exit code, as a shell shows it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    command: String,
}

impl Outcome {
    /// Checks for exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}: {}", self.command, self.stderr);
        self
    }

    /// Checks for exit code `code`, and for exactly one line on standard error, with all of `words`
    /// in it.
    #[track_caller]
    pub(crate) fn fails(self, code: i32, words: &[&str]) -> Self {
        let (command, stderr) = (&self.command, &self.stderr);
        assert_eq!(self.code, code, "{command}: {stderr}");
        let line = stderr.strip_suffix('\n').unwrap_or("no line");
        let one = line.starts_with("underpass: ") && !line.contains('\n');
        assert!(one, "{command}: not one line of ours: {stderr:?}");
        for word in words {
            assert!(line.contains(word), "{command}: no {word:?} in {stderr:?}");
        }
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap()
    }

    /// The receipt, which must be the only line on standard output.
    #[track_caller]
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt::read(self.text())
    }
}
