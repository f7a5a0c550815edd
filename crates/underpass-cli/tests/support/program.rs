//! Running the binary, and what became of it.

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

/// No run of a passing test takes nearly so long: a test that would hang fails.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// The binary with nothing to read and everything it says collected.
pub(crate) fn underpass(args: &[&str]) -> Command {
    let mut command = collected(PROGRAM);
    command.args(args);
    command
}

/// The same, where `program` is told by `before` how it becomes that.
pub(crate) fn underpass_by(program: &str, before: &[&str], args: &[&str]) -> Command {
    let mut command = collected(program);
    command.args(before).arg(PROGRAM).args(args);
    command
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_underpass");

/// Any program with nothing to read and everything it says collected.
pub(crate) fn collected(program: &str) -> Command {
    SIGNALS.call_once(default_signals);
    let mut command = Command::new(program);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The same as a user without rights, where it can be run so.
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

/// `command` as a user without rights, whose `dir` becomes.
pub(crate) fn nobody(command: Command, dir: &Dir) -> Command {
    if geteuid().is_root() {
        std::os::unix::fs::chown(dir.root(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    without_rights(command)
}

fn without_rights(mut command: Command) -> Command {
    if geteuid().is_root() {
        // With the user go all groups and capabilities.
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Of no user (systemd's NOBODY, Debian's too).
const NOBODY: u32 = 65534;

static SIGNALS: Once = Once::new();

/// Lets children begin with signals at their defaults, though a shell that ran the tests in the
/// background may have had them ignored: what this process catches, even if only to end by it, is
/// reset in them (execve(2)).
fn default_signals() {
    for signal in [Signal::INT, Signal::HUP, Signal::TERM] {
        let (number, always) = (signal.as_raw(), Arc::new(AtomicBool::new(true)));
        register_conditional_shutdown(number, 128 + number, always).unwrap();
    }
}

/// Runs it to the end.
pub(crate) fn run(args: &[&str]) -> Outcome {
    Running::start(underpass(args)).finish()
}

/// A program under way; killed if the test lets go of it.
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

    /// Starts `underpass recv` and waits until it listens; gives the address too.
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
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "{}: ended without a line", self.command);
        line.trim_end().to_owned()
    }

    /// Its standard input, where it was piped.
    pub(crate) fn stdin(&mut self) -> ChildStdin {
        self.child.stdin.take().unwrap()
    }

    /// Its standard output, for the test to read by itself.
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

    /// Lets it open no descriptor more than it has, and gives the limit that there was: its
    /// highest.
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

    /// Sets the limit of its descriptors, and gives the one that there was.
    pub(crate) fn limit_descriptors(&self, limit: Rlimit) -> Rlimit {
        prlimit(Some(Pid::from_child(&self.child)), Resource::Nofile, limit).unwrap()
    }

    /// Bytes of memory it has resident.
    pub(crate) fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.child.id());
        let pages = std::fs::read_to_string(path).unwrap();
        let pages: u64 = pages.split(' ').nth(1).unwrap().parse().unwrap();
        pages * rustix::param::page_size() as u64
    }

    /// Waits until it waits for something itself. Nothing tells of that, so it is asked; one that
    /// spins fails the test.
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

    /// Whether it waits for something itself.
    #[track_caller]
    pub(crate) fn sleeps(&self) -> bool {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        assert!(!status.contains("State:\tZ"), "{}: ended", self.command);
        status.contains("State:\tS")
    }

    /// Whether it has not ended.
    pub(crate) fn is_alive(&self) -> bool {
        let path = format!("/proc/{}/status", self.child.id());
        std::fs::read_to_string(path).is_ok_and(|status| !status.contains("State:\tZ"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it holds a descriptor of each of `kinds`, parts of what /proc shows of one.
    /// Nothing tells of that, so it is asked.
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

    /// Collects the rest of what it says and waits for its end.
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

/// How a program ended, and what it said since it was last listened to.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// As a shell shows it.
    pub(crate) code: i32,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
    command: String,
}

impl Outcome {
    /// Exit code 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{}: {}", self.command, self.stderr);
        self
    }

    /// Exit code `code`, and on standard error exactly one line with all of `words` in it.
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

    /// The receipt, the only line on standard output.
    #[track_caller]
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt::read(self.text())
    }
}
