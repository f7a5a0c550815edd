//! Everything that needs unsafe code: which standard streams were closed at the start, inherited
//! descriptors by number, signals, and a socket option that rustix lacks.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, OnceLock};

use rustix::io::{Errno, FdFlags};
use rustix::process::Signal;

/// A bit for each of the descriptors 0 to 2 that was closed when the process began.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// The standard library replaces closed standard streams by /dev/null before `main`. This function
/// runs before that: the C library calls the functions in this section first.
#[used]
// SAFETY: the section holds pointers to functions that are called once, before `main`, with
// arguments that this one ignores, as the C calling convention allows. It uses nothing that the
// standard library sets up.
#[unsafe(link_section = ".init_array")]
static LOOK: extern "C" fn() = look;

extern "C" fn look() {
    for number in 0..3 {
        if flags(number) == Err(Errno::BADF) {
            CLOSED.fetch_or(1 << number, Relaxed);
        }
    }
}

/// Whether the standard stream `number` (0 to 2) was closed when the process began.
pub(crate) fn was_closed(number: RawFd) -> bool {
    CLOSED.load(Relaxed) & (1 << number) != 0
}

/// Duplicates the inherited descriptor `number`, with the same offset and flags. Fails with
/// `NotFound` if it was not inherited.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let is_closed = (0..3).contains(&number) && was_closed(number);
    // Everything that this program opens is closed on exec. A descriptor that is not was inherited.
    match flags(number) {
        Ok(flags) if !is_closed && !flags.contains(FdFlags::CLOEXEC) => {}
        _ => return Err(io::ErrorKind::NotFound.into()),
    }
    // SAFETY: the number was open a moment ago, and this program does not close inherited
    // descriptors. If it were closed all the same, dup(2) would fail.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fd.try_clone_to_owned()
}

fn flags(number: RawFd) -> Result<FdFlags, Errno> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: fcntl(2) uses only the number, and fails if it is not open.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })
}

/// Sets the most bytes per second that TCP sends: `SO_MAX_PACING_RATE` of socket(7).
///
/// # Errors
///
/// Those of setsockopt(2).
pub(crate) fn set_max_pacing_rate(socket: impl AsFd, rate: u64) -> io::Result<()> {
    let length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel reads `length` bytes of `rate`, and keeps no pointer to it.
    let done = unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MAX_PACING_RATE,
            (&raw const rate).cast(),
            length,
        )
    };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Calls `call` with the descriptor `number`, which must be open until it returns.
///
/// # Errors
///
/// Those of `call`.
pub(crate) fn with_open<T>(
    number: RawFd,
    call: impl FnOnce(BorrowedFd<'_>) -> io::Result<T>,
) -> io::Result<T> {
    if number < 0 {
        return Err(Errno::BADF.into());
    }
    // SAFETY: the only caller keeps numbers of sockets under a lock that it holds now, and removes
    // each from there before it closes the socket.
    call(unsafe { BorrowedFd::borrow_raw(number) })
}

/// How many bytes the peer has not acknowledged: `SIOCOUTQ` of tcp(7).
///
/// # Errors
///
/// Those of ioctl(2).
pub(crate) fn unacknowledged(socket: impl AsFd) -> io::Result<usize> {
    let mut count: c_int = 0;
    // SAFETY: the kernel writes one int to `count`, and keeps no pointer to it.
    let done = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::TIOCOUTQ, &raw mut count) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The state that the signal handler changes.
pub(crate) struct Catching {
    /// What each signal does, from the first on. One more ends the process at once.
    pub(crate) steps: Vec<CatchingStep>,
    /// How many there were.
    pub(crate) count: AtomicUsize,
    /// The number of the last signal; 0 before.
    pub(crate) last: Arc<AtomicUsize>,
    /// Set by SIGINT.
    pub(crate) ctrl_c: &'static AtomicBool,
}

/// What a signal does.
pub(crate) struct CatchingStep {
    /// It is set.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// A byte is written to it. It does not block.
    pub(crate) waker: OwnedFd,
}

/// The state that the handler uses. It is set before the handler is installed, and never freed,
/// because a handler may be running.
static CATCHING: AtomicPtr<Catching> = AtomicPtr::new(std::ptr::null_mut());

/// What the last signal does before it ends the process.
static BEFORE_SUDDEN_EXIT: OnceLock<fn()> = OnceLock::new();

/// Has `last` called before a signal ends the process. As part of a signal handler, it must
/// not allocate, take a lock, or wait (signal-safety(7)).
pub(crate) fn before_sudden_exit(last: fn()) {
    BEFORE_SUDDEN_EXIT.get_or_init(|| last);
}

/// Stops this process as SIGTSTP does by default, whatever else it does now, and returns when the
/// process goes on. That is at once where the kernel ignores SIGTSTP, since nobody is there who
/// could let the process go on (setpgid(2), "orphaned process group").
pub(crate) fn stop() {
    // SAFETY: zero is a valid value of every field, and means: no flags, no signal blocked, the
    // default action.
    let (default, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    // SAFETY: both point to valid structures.
    if unsafe { libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut before) } != 0 {
        return;
    }
    let _ = rustix::process::kill_process(rustix::process::getpid(), Signal::TSTP);
    // SAFETY: as above, and the action is the one that there was.
    unsafe { libc::sigaction(libc::SIGTSTP, &raw const before, std::ptr::null_mut()) };
}

/// Installs the handler for `signals`: each takes the next step of `catching`. Ignored signals stay
/// ignored, as under nohup(1).
///
/// # Errors
///
/// The error of sigaction(2).
pub(crate) fn catch(
    signals: impl IntoIterator<Item = c_int>,
    catching: Catching,
) -> io::Result<()> {
    CATCHING.store(Box::into_raw(Box::new(catching)), SeqCst);
    signals.into_iter().try_for_each(handle)
}

fn handle(signal: c_int) -> io::Result<()> {
    // SAFETY: zero is a valid value of every field, and means: no flags, no signal blocked, the
    // default action.
    let (mut action, mut before): (libc::sigaction, libc::sigaction) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    let handler: extern "C" fn(c_int) = caught;
    action.sa_sigaction = handler as libc::sighandler_t;
    action.sa_flags = libc::SA_RESTART;
    // SAFETY: both point to valid structures, and the handler does only what a handler may
    // (signal-safety(7)).
    let asked = unsafe { libc::sigaction(signal, std::ptr::null(), &raw mut before) };
    if asked == 0 && before.sa_sigaction == libc::SIG_IGN {
        return Ok(());
    }
    // SAFETY: as above.
    if unsafe { libc::sigaction(signal, &raw const action, std::ptr::null_mut()) } == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}

/// The signal handler. It uses only atomics, write(2) and _exit(2), and what
/// [`before_sudden_exit`] was given.
extern "C" fn caught(signal: c_int) {
    // SAFETY: it was set before there was a handler, by `Box::into_raw`, and is never freed or
    // changed.
    let Some(catching) = (unsafe { CATCHING.load(SeqCst).as_ref() }) else {
        return;
    };
    catching.last.store(signal as usize, SeqCst);
    if signal == libc::SIGINT {
        catching.ctrl_c.store(true, SeqCst);
    }
    let before = catching.count.fetch_add(1, SeqCst);
    let Some(step) = catching.steps.get(before) else {
        if let Some(last) = BEFORE_SUDDEN_EXIT.get() {
            last();
        }
        // SAFETY: _exit(2) is safe in a signal handler, and does nothing but end the process.
        unsafe { libc::_exit(128 + signal) };
    };
    step.cancelled.store(true, SeqCst);
    // rustix makes the system call itself, so errno stays unchanged. If the pipe is full, it is
    // readable already.
    let _ = rustix::io::write(&step.waker, &[0]);
}
