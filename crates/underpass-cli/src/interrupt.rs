//! Signals cancel the transfer and not the process, so that temporary files are removed.

use std::ffi::c_int;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use libc::{SIGPWR, SIGRTMAX, SIGRTMIN, SIGSTKFLT};
use rustix::pipe::PipeFlags;
use signal_hook::consts::{
    SIGABRT, SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGQUIT, SIGSYS, SIGTERM, SIGTRAP,
    SIGTSTP, SIGUSR1, SIGUSR2, SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use signal_hook::{flag, low_level::pipe};
use underpass::Cancel;

use crate::exit::Failure;
use crate::{report, sys};

/// The signals by which people and service managers usually end a process.
const ORDINARY: [c_int; 3] = [SIGINT, SIGTERM, SIGHUP];

/// The other signals that end a process and can be caught. SIGSEGV, SIGBUS, SIGFPE and SIGILL are
/// left out: they report an error in the program itself, after which nothing can be relied on.
const OTHERS: [c_int; 13] = [
    SIGQUIT, SIGALRM, SIGUSR1, SIGUSR2, SIGVTALRM, SIGPROF, SIGIO, SIGXCPU, SIGTRAP, SIGABRT,
    SIGSYS, SIGSTKFLT, SIGPWR,
];

/// Ignores SIGXFSZ, so that a write past the limit on file sizes (`ulimit -f`) fails with EFBIG and
/// does not end the process.
pub(crate) fn survive_file_limits() -> Result<(), Failure> {
    flag::register(SIGXFSZ, Arc::default())
        .map(|_| ())
        .map_err(|error| uncatchable(&error))
}

fn uncatchable(error: &std::io::Error) -> Failure {
    Failure::failed(format_args!("signals cannot be caught: {error}"))
}

/// Signal handlers that last as long as the process.
#[derive(Clone)]
pub(crate) struct Interrupt {
    pub(crate) cancel: Cancel,
    /// In a server, a second signal cancels this. Elsewhere it ends the process at once.
    pub(crate) second: Option<Cancel>,
    /// The number of the last signal; 0 before.
    signal: Arc<AtomicUsize>,
}

impl Interrupt {
    /// Catches SIGINT, SIGTERM and SIGHUP: the first one cancels, a second one ends the process at
    /// once.
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::catch(ORDINARY, None).map_err(|error| uncatchable(&error))
    }

    /// As [`listen`](Self::listen), for every signal that would end the process. For commands that
    /// must leave something as it was: temporary files, a terminal.
    pub(crate) fn listen_to_all() -> Result<Self, Failure> {
        // Real-time signals end the process by default, too (signal(7)).
        let real_time = SIGRTMIN()..=SIGRTMAX();
        let all = ORDINARY.into_iter().chain(OTHERS).chain(real_time);
        Self::catch(all, None).map_err(|error| uncatchable(&error))
    }

    /// For a server: the first signal asks it to stop, a second one to stop at once, and a third
    /// one ends the process. SIGHUP reloads, as log rotation and service managers expect.
    pub(crate) fn listen_in_server() -> Result<(Self, Hangups), Failure> {
        let catch = || Self::catch([SIGINT, SIGTERM], Some(Cancel::new()?));
        let both = || Ok((catch()?, Hangups::register()?));
        both().map_err(|error| uncatchable(&error))
    }

    /// The first signal cancels, the next one cancels `second`, and one more ends the process.
    ///
    /// Installs the handler without signal-hook, which needs a descriptor and a dozen system calls
    /// for each signal. For all signals, that would take a tenth of the time of copying a small
    /// file.
    fn catch(signals: impl IntoIterator<Item = c_int>, second: Option<Cancel>) -> io::Result<Self> {
        let cancel = Cancel::new()?;
        let signal = Arc::new(AtomicUsize::new(0));
        let steps = [Some(&cancel), second.as_ref()];
        let catching = sys::Catching {
            steps: steps
                .into_iter()
                .flatten()
                .map(step)
                .collect::<io::Result<_>>()?,
            count: AtomicUsize::new(0),
            last: Arc::clone(&signal),
            ctrl_c: &report::CTRL_C,
        };
        sys::catch(signals, catching)?;
        Ok(Self {
            cancel,
            second,
            signal,
        })
    }

    /// The number of the last signal; 0 if there was none.
    pub(crate) fn signal(&self) -> usize {
        self.signal.load(Ordering::Acquire)
    }

    /// The failure of a command that was cancelled.
    pub(crate) fn failure(&self, line: impl std::fmt::Display) -> Failure {
        Failure::interrupted(line, self.signal())
    }
}

fn step(cancel: &Cancel) -> io::Result<sys::CatchingStep> {
    let (cancelled, waker) = cancel.parts()?;
    Ok(sys::CatchingStep { cancelled, waker })
}

/// A pipe that becomes readable at SIGHUP, and at SIGUSR1, which has the same meaning for nginx.
pub(crate) struct Hangups {
    pub(crate) pipe: OwnedFd,
    /// Whether there was a terminal at the start.
    pub(crate) had_terminal: bool,
    /// Keeps the pipe open if both signals are ignored. Without a writer it would be readable (end
    /// of file).
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

/// A pipe that becomes readable at SIGTSTP, which is Ctrl-Z, and at SIGCONT: when the process goes
/// on after it was stopped. For programs that draw on a terminal.
pub(crate) struct JobControl {
    pub(crate) pipe: OwnedFd,
    is_to_stop: Arc<AtomicBool>,
    /// As in [`Hangups`].
    _writer: OwnedFd,
}

impl JobControl {
    pub(crate) fn listen() -> Result<Self, Failure> {
        Self::register().map_err(|error| uncatchable(&error))
    }

    fn register() -> std::io::Result<Self> {
        let flags = PipeFlags::CLOEXEC | PipeFlags::NONBLOCK;
        let (reader, writer) = rustix::pipe::pipe_with(flags)?;
        let is_to_stop = Arc::default();
        // The flag is set before the pipe is readable.
        for number in not_ignored(&[SIGTSTP]) {
            flag::register(number, Arc::clone(&is_to_stop))?;
        }
        for number in not_ignored(&[SIGTSTP, SIGCONT]) {
            pipe::register(number, writer.try_clone()?)?;
        }
        Ok(Self {
            pipe: reader,
            is_to_stop,
            _writer: writer,
        })
    }

    /// Empties the pipe. Returns whether the process was asked to stop; [`stop`](Self::stop) does.
    pub(crate) fn is_to_stop(&self) -> bool {
        // If it is empty already, nothing is lost.
        let _ = rustix::io::read(&self.pipe, &mut [0; 64]);
        self.is_to_stop.swap(false, Ordering::AcqRel)
    }

    /// Stops the process, and returns when it goes on.
    pub(crate) fn stop() {
        sys::stop();
    }
}

/// Whether the process has a terminal that is still open.
pub(crate) fn has_terminal() -> bool {
    io::stdin().is_terminal() || io::stderr().is_terminal()
}

/// Leaves out the signals that are ignored, as under nohup(1) and in a shell's background jobs.
fn not_ignored(signals: &[c_int]) -> impl Iterator<Item = c_int> {
    let ignored = ignored();
    let wanted = move |number: &c_int| ignored & (1 << (number - 1)) == 0;
    signals.iter().copied().filter(wanted)
}

/// The signals that this process ignores, with signal 1 as the lowest bit: the line `SigIgn` of
/// proc_pid_status(5). No safe function returns them. Without /proc, none are known.
fn ignored() -> u64 {
    // One read gets the whole text. Every command does this when it starts, so it has to be fast.
    let mut status = [0; 4096];
    let count = File::open("/proc/self/status").and_then(|mut file| file.read(&mut status));
    let status = String::from_utf8_lossy(&status[..count.unwrap_or(0)]);
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:\t"));
    mask.and_then(|mask| u64::from_str_radix(mask, 16).ok())
        .unwrap_or(0)
}
