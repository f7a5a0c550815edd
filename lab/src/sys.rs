//! System calls that rustix does not wrap: `wait4` with resource usage, another process's clock, a
//! thread's scheduling class and network, what a child does before exec, and one signal handler.
#![allow(unsafe_code)]

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::{Signal, set_parent_process_death_signal};
use rustix::thread::{UnshareFlags, unshare_unsafe};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// What a child that has ended cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    /// Peak resident memory in KiB. A process starts with its parent's peak at the time of exec, so
    /// this is never below that.
    pub(crate) max_rss_kib: u64,
}

/// `wait4(2)` for this child: waits for its end, and returns what it and its own ended children
/// used.
pub(crate) fn wait4(child: Child) -> io::Result<(ExitStatus, Usage)> {
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    drop(child);
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    loop {
        // SAFETY: both pointers are to live locals of the types that wait4 writes.
        let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
        if reaped == pid {
            break;
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
    // SAFETY: zeroed at the start, so initialised whatever the kernel wrote.
    let usage = unsafe { usage.assume_init() };
    Ok((ExitStatus::from_raw(status), from_rusage(&usage)))
}

fn from_rusage(usage: &libc::rusage) -> Usage {
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Usage {
        user_s: seconds(usage.ru_utime),
        system_s: seconds(usage.ru_stime),
        max_rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
    }
}

/// User and system time that a process has used so far, with all its threads, including those that
/// have ended: in nanoseconds, where /proc counts ticks.
pub(crate) fn cpu_time(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(io::Error::other)?;
    let mut clock = 0;
    // SAFETY: the pointer is to a live local of the type that is written.
    let errno = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if errno != 0 {
        return Err(io::Error::from_raw_os_error(errno));
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live local of the type that is written.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// From now on, this thread runs only when no other one wants its processor, and a thread that
/// wakes up preempts it.
pub(crate) fn run_when_idle() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 is this thread; the pointer is to a live local.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const param) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Puts the calling thread, and no other, into a network namespace of its own, by unshare(2).
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET leaves the table of descriptors shared, which is what the call's
    // requirement is about.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// The socket counts as writable only while it holds less than this many unsent bytes
/// (TCP_NOTSENT_LOWAT, tcp(7)).
pub(crate) fn set_notsent_lowat(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    // SAFETY: the pointer and the length are those of a live local.
    let set = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_NOTSENT_LOWAT,
            (&raw const bytes).cast(),
            size_of::<u32>() as libc::socklen_t,
        )
    };
    if set == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// The child is killed when the thread that starts it ends, for whatever reason.
pub(crate) fn die_with_parent(command: &mut Command) {
    let ask = || set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from);
    // SAFETY: between fork and exec nothing but one prctl is called, which is async-signal-safe.
    unsafe { command.pre_exec(ask) };
}

/// From now on Ctrl-C and SIGTERM set a flag, so that mounts and files are still removed. Children
/// get the default handling back at exec, so a Ctrl-C at the terminal ends them, and the loop over
/// them sees the flag.
pub(crate) fn catch_interrupts() -> io::Result<()> {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let handler = note_interrupt as extern "C" fn(libc::c_int);
        // SAFETY: the handler only stores to an atomic, which is async-signal-safe.
        let previous = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if previous == libc::SIG_ERR {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Whether a Ctrl-C or SIGTERM has come.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

extern "C" fn note_interrupt(_signal: libc::c_int) {
    INTERRUPTED.store(true, Ordering::Relaxed);
}
