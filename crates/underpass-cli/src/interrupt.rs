//! Signals end the transfer, not the process, so that what is half done can be cleared away.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{SIGPWR, SIGRTMAX, SIGRTMIN, SIGSTKFLT};
use rustix::pipe::PipeFlags;
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTRAP, SIGUSR1,
    SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::{flag, low_level::pipe};
use underpass::Cancel;

use crate::exit::Failure;
use crate::sys;

/// What people and service managers end a process by.
const ORDINARY: [c_int; 3] = [SIGINT, SIGTERM, SIGHUP];

/// Whatever else ends a process and can be caught. Not the four that tell of an error in the
/// program itself (SIGSEGV, SIGBUS, SIGFPE, SIGILL): after those there is nothing to rely on.
const OTHERS: [c_int; 13] = [
    SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGTRAP, SIGABRT,
    SIGSYS, SIGSTKFLT, SIGPWR,
];

/// Has writing past a limit on the size of files (`ulimit -f`) fail with EFBIG, and not end the
/// process by SIGXFSZ: then it is an error of this write, told like others, and a server goes on.
pub(crate) fn survive_file_limits() -> Result<(), Failure> {
    flag::register(SIGXFSZ, Arc::default())
        .map(|_| ())
        .map_err(|error| uncatchable(&error))
}

fn uncatchable(error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("signals cannot be caught: {error}"))
}

/// Listens for signals for the rest of the process's life.
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// From here on the first SIGINT, SIGTERM or SIGHUP cancels, and a second one ends the process
    /// at once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::catch(ORDINARY).map_err(|error| uncatchable(&error))
    }

    /// The same for every signal that would end the process: there is something to clear away.
    pub(crate) fn listen_to_all() -> Result<Self, Failure> {
        // The default of the real-time signals is the end of the process, too (signal(7)).
        let real_time = SIGRTMIN()..=SIGRTMAX();
        let all = ORDINARY.into_iter().chain(OTHERS).chain(real_time);
        Self::catch(all).map_err(|error| uncatchable(&error))
    }

    /// For a server, which SIGHUP does not end: it is what log rotation and service managers send.
    pub(crate) fn listen_in_server() -> Result<(Self, Hangups), Failure> {
        let both = || Ok((Self::catch([SIGINT, SIGTERM])?, Hangups::register()?));
        both().map_err(|error| uncatchable(&error))
    }

    /// Not by signal-hook: that takes a descriptor and a dozen system calls for each signal, which
    /// for all of them is a tenth of the time that it takes to copy a small file.
    fn catch(signals: impl IntoIterator<Item = c_int>) -> std::io::Result<Self> {
        let cancel = Cancel::new()?;
        let signal = Arc::new(AtomicUsize::new(0));
        let (cancelled, waker) = cancel.parts()?;
        let catching = sys::Catching {
            cancelled,
            waker,
            first: Arc::clone(&signal),
        };
        sys::catch(signals, catching)?;
        Ok(Self { cancel, signal })
    }

    /// The failure to report after `cancel` was seen.
    pub(crate) fn failure(&self, line: impl std::fmt::Display) -> Failure {
        Failure::interrupted(line, self.signal.load(Ordering::Acquire))
    }
}

/// Becomes readable when a SIGHUP came, or a SIGUSR1, which asks nginx for the same.
pub(crate) struct Hangups {
    pub(crate) pipe: OwnedFd,
    /// There was a terminal when the process began to listen.
    pub(crate) had_terminal: bool,
    /// Kept open, so that the pipe is silent, and not at its end, where both signals are ignored.
    _writer: OwnedFd,
}

impl Hangups {
    fn register() -> std::io::Result<Self> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (reader, writer) = rustix::pipe::pipe_with(flags)?;
        for number in not_ignored(&[SIGHUP, SIGUSR1]) {
            pipe::register(number, writer.try_clone()?)?;
        }
        Ok(Self {
            pipe: reader,
            had_terminal: has_terminal(),
            _writer: writer,
        })
    }
}

/// Whether the process has a terminal that is still open.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

/// What nohup(1), or a shell that starts us in the background, had us ignore stays ignored.
fn not_ignored(signals: &[c_int]) -> impl Iterator<Item = c_int> {
    let ignored = ignored();
    let wanted = move |number: &c_int| ignored & (1 << (number - 1)) == 0;
    signals.iter().copied().filter(wanted)
}

/// The signals that this process ignores, signal 1 as the lowest bit: the line `SigIgn` of
/// proc_pid_status(5). Nothing that does without unsafe code tells it another way; without /proc
/// none are known.
fn ignored() -> u64 {
    // The whole text fits, and comes with one read: this is on the way of every command's start.
    let mut status = [0; 4096];
    let count = File::open("/proc/self/status").and_then(|mut file| file.read(&mut status));
    let status = String::from_utf8_lossy(&status[..count.unwrap_or(0)]);
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"));
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or(0)
}
