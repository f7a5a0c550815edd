//! The SIGBUS handler. Reading a mapped page of a truncated file raises SIGBUS, which kills the
//! process unless it is handled (pitfall 22). The handler asks who has mapped the page, and puts a
//! page of zeros in its place, as systemd's `sigbus` does. Whoever has mapped it knows then that
//! what it read is not the file.

use std::mem;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_void, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Says whether the page at an address is its own to lose, and notes that it is lost.
type Claim = fn(usize) -> bool;

/// Those that claim pages: this crate and `underpass-http`, each once.
static CLAIMS: [OnceLock<Claim>; 4] = [const { OnceLock::new() }; 4];

/// The handler that was there before: faults that nobody claims are passed on to it.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// From now on, lost pages that `claim` says are its own are replaced by zeros. Installs the
/// handler for the process, the first time. Beyond four claims, further ones are not heard.
///
/// # Safety
/// `claim` must be safe in a signal handler (signal-safety(7)). What it claims must be a page of a
/// mapping that may be replaced by zeros.
pub unsafe fn claim(claim: fn(usize) -> bool) {
    PREVIOUS.get_or_init(install);
    let _ = CLAIMS.iter().find(|slot| slot.set(claim).is_ok());
}

/// Installs the handler, and returns the one that was there.
fn install() -> libc::sigaction {
    // SAFETY: an all-zero sigaction is a valid value to fill in.
    let mut previous: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: reads the current handler into a local.
    unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) };
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler makes only calls that are safe in a signal handler: atomics and mmap(2).
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
    previous
}

extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t.
    let is_fault = unsafe { (*info).si_code } > 0;
    if is_fault && repair(info) {
        return;
    }
    pass_on(signal, info, context);
    // A faulting access is repeated when the handler returns. A signal sent by kill(2) is not
    // repeated.
    if !is_fault && is_default(signal) {
        // SAFETY: safe in a signal handler; the signal is delivered when this one returns.
        unsafe { libc::raise(signal) };
    }
}

/// Replaces the page that faulted by zeros, if somebody claims it.
fn repair(info: *mut siginfo_t) -> bool {
    // SAFETY: for a fault the address field is the set one.
    let address = unsafe { (*info).si_addr() }.addr();
    let mut claims = CLAIMS.iter().filter_map(OnceLock::get);
    claims.any(|claim| claim(address)) && replace_page(address)
}

/// Whether the signal has its default action, which ends the process.
fn is_default(signal: c_int) -> bool {
    // SAFETY: an all-zero sigaction is a valid value to fill in.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: reads the current handler into a local.
    unsafe { libc::sigaction(signal, ptr::null(), &raw mut action) };
    action.sa_sigaction == libc::SIG_DFL
}

fn replace_page(address: usize) -> bool {
    let page = rustix::param::page_size();
    let place = ptr::with_exposed_provenance_mut(address & !(page - 1));
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: who has mapped the page has claimed it; it has no content to lose.
    unsafe { mmap_anonymous(place, page, ProtFlags::READ, flags) }.is_ok()
}

/// Passes the signal to the previous handler. If that is the default, it is restored, and ends the
/// process when the access is repeated.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // While it is still being set, the fault is of somebody else, and comes again.
    let Some(previous) = PREVIOUS.get() else {
        return;
    };
    match previous.sa_sigaction {
        libc::SIG_DFL | libc::SIG_IGN => {
            // SAFETY: restores what the process had.
            unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
        }
        handler if previous.sa_flags & libc::SA_SIGINFO != 0 => {
            // SAFETY: the flag says that it is a function of three arguments.
            let handler: extern "C" fn(c_int, *mut siginfo_t, *mut c_void) =
                unsafe { mem::transmute(handler) };
            handler(signal, info, context);
        }
        handler => {
            // SAFETY: without the flag it is a function of one.
            let handler: extern "C" fn(c_int) = unsafe { mem::transmute(handler) };
            handler(signal);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsFd as _;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus};
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::sys::Window;

    const VARIABLE: &str = "UNDERPASS_TEST_CHILD";

    /// Runs a test of this module in a process of its own.
    fn child(test: &str) -> Option<ExitStatus> {
        if std::env::var_os(VARIABLE).is_some() {
            return None;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = format!("sys::lost_pages::tests::{test}");
        command.args(["--exact", &name]).env(VARIABLE, "1");
        Some(command.output().unwrap().status)
    }

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(20_000).unwrap();
        file
    }

    /// Reads a window of this crate whose pages are gone; whether that is told.
    fn ours() -> bool {
        let file = file();
        let window = Window::map(file.as_fd(), 0, 20_000).unwrap();
        file.set_len(0).unwrap();
        window.read(0..20_000, |bytes, is_lost| {
            bytes.iter().all(|byte| *byte == 0) && is_lost()
        })
    }

    /// Somebody else's mapping whose pages are gone.
    fn foreign() -> *const u8 {
        let file = file();
        let (place, flags) = (ptr::null_mut(), MapFlags::SHARED);
        // SAFETY: a new mapping at a place of the kernel's choice touches nothing that exists.
        let place = unsafe { rustix::mm::mmap(place, 20_000, ProtFlags::READ, flags, &file, 0) };
        file.set_len(0).unwrap();
        place.unwrap().cast()
    }

    fn read(place: *const u8) {
        // SAFETY: not sound, as the page is gone: that is what is tried.
        let _ = unsafe { place.read_volatile() };
    }

    #[test]
    fn pitfall_22_a_fault_of_another_mapping_kills_as_ever() {
        if let Some(status) = child("pitfall_22_a_fault_of_another_mapping_kills_as_ever") {
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
            return;
        }
        assert!(ours());
        read(foreign());
    }

    #[test]
    fn a_signal_that_another_process_sends_kills_as_ever() {
        if let Some(status) = child("a_signal_that_another_process_sends_kills_as_ever") {
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
            return;
        }
        assert!(ours());
        // SAFETY: sends a signal to this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGBUS) };
    }

    static SEEN: AtomicUsize = AtomicUsize::new(0);

    extern "C" fn on_foreign(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
        // SAFETY: the kernel passes a valid siginfo_t, and for SIGBUS its address field is the set
        // one.
        let address = unsafe { (*info).si_addr() }.addr();
        SEEN.store(address, Ordering::Relaxed);
        assert!(replace_page(address));
    }

    #[test]
    fn pitfall_22_the_handler_that_was_there_gets_what_is_its_own() {
        if let Some(status) = child("pitfall_22_the_handler_that_was_there_gets_what_is_its_own") {
            assert!(status.success(), "{status}");
            return;
        }
        // SAFETY: an all-zero sigaction is a valid value to fill in.
        let mut action: libc::sigaction = unsafe { mem::zeroed() };
        action.sa_sigaction = on_foreign as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        // SAFETY: the handler makes only calls that are safe in a signal handler.
        unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
        assert!(ours());
        assert_eq!(SEEN.load(Ordering::Relaxed), 0);
        let place = foreign();
        read(place);
        assert_eq!(SEEN.load(Ordering::Relaxed), place.addr());
        assert!(ours(), "it is still installed");
    }
}
