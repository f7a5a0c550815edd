//! What cannot be done without unsafe code: telling which standard streams were closed, taking
//! inherited descriptors by their number, and catching many signals at little cost.
#![allow(unsafe_code)]

use std::ffi::c_int;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst,
};

use rustix::io::{Errno, FdFlags};

/// A bit for each of the descriptors 0 to 2 that was closed when the process began.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// The standard library opens /dev/null in the place of closed standard streams before `main`, and
/// then they look like streams that somebody meant. So they are looked at before it: what is in
/// this section, the C library calls first.
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

/// A descriptor of its own for what the process inherited as `number`: the same offset, the same
/// flags. `NotFound` where it inherited none.
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    let is_closed = (0..3).contains(&number) && was_closed(number);
    // What this program opens is closed on exec, so that what is not comes from outside.
    match flags(number) {
        Ok(flags) if !is_closed && !flags.contains(FdFlags::CLOEXEC) => {}
        _ => return Err(io::ErrorKind::NotFound.into()),
    }
    // SAFETY: the number was open a moment ago, and inherited descriptors are not closed by this
    // program; if it were not, dup(2) would fail.
    let fd = unsafe { BorrowedFd::borrow_raw(number) };
    fd.try_clone_to_owned()
}

fn flags(number: RawFd) -> Result<FdFlags, Errno> {
    if number < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: fcntl(2) looks at the number alone, and fails where it is not open.
    rustix::io::fcntl_getfd(unsafe { BorrowedFd::borrow_raw(number) })
}

/// What a signal changes.
pub(crate) struct Catching {
    /// Set by the first signal.
    pub(crate) cancelled: Arc<AtomicBool>,
    /// Written to by it; does not block.
    pub(crate) waker: OwnedFd,
    /// The number of it, 0 before.
    pub(crate) first: Arc<AtomicUsize>,
}

/// What the handler reads, set before there is one. It is never freed, since a handler may be at
/// work.
static CATCHING: AtomicPtr<Catching> = AtomicPtr::new(std::ptr::null_mut());

/// From here on the first of `signals` has the effect of `catching`, and a second one ends the
/// process at once. Those that are ignored, as nohup(1) has it, stay ignored.
///
/// # Errors
/// What sigaction(2) says.
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

/// Atomics, write(2) and _exit(2) are all that it uses.
extern "C" fn caught(signal: c_int) {
    // SAFETY: it was set before there was a handler, by `Box::into_raw`, and is never freed or
    // changed.
    let Some(catching) = (unsafe { CATCHING.load(SeqCst).as_ref() }) else {
        return;
    };
    let first = catching
        .first
        .compare_exchange(0, signal as usize, SeqCst, SeqCst);
    if first.is_err() {
        // SAFETY: it ends the process without anything else, as is allowed here.
        unsafe { libc::_exit(128 + signal) };
    }
    catching.cancelled.store(true, SeqCst);
    // It makes the system call itself and so leaves errno alone; a full pipe wakes as well.
    let _ = rustix::io::write(&catching.waker, &[0]);
}
