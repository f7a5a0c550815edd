//! The SIGBUS handler. Reading a mapped page of a truncated file raises SIGBUS, which kills the
//! process unless it is handled (pitfall 22). The handler puts a page of zeros in its place and
//! marks the mapping as spoiled, as systemd's `sigbus` does. Only the responses with that file
//! fail.

use std::mem;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_void, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// What the handler needs. It is set before the handler is installed.
struct Handling {
    /// Tells whether the faulting address belongs to a mapping of ours, and marks that mapping.
    mark_spoiled: fn(usize) -> bool,
    /// The previous handler: faults that are not ours are passed on to it.
    previous: libc::sigaction,
}

static HANDLING: OnceLock<Handling> = OnceLock::new();

/// Installs the handler for the process; to be called once, before the first file is mapped.
/// `mark_spoiled` must be safe in a signal handler.
pub(super) fn install(mark_spoiled: fn(usize) -> bool) {
    // SAFETY: an all-zero sigaction is a valid value to fill in.
    let mut previous: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: reads the current handler into a local.
    unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) };
    let _ = HANDLING.set(Handling {
        mark_spoiled,
        previous,
    });
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler makes only calls that are safe in a signal handler: atomics and mmap(2).
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
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

/// Replaces the page that faulted by zeros, if it belongs to a mapping of ours.
fn repair(info: *mut siginfo_t) -> bool {
    // SAFETY: for a fault the address field is the set one.
    let address = unsafe { (*info).si_addr() }.addr();
    let is_ours = HANDLING.get().is_some_and(|it| (it.mark_spoiled)(address));
    is_ours && replace_page(address)
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
    // SAFETY: the page belongs to a mapping of ours and has no content to lose.
    unsafe { mmap_anonymous(place, page, ProtFlags::READ, flags) }.is_ok()
}

/// Passes the signal to the previous handler. If that is the default, it is restored, and ends the
/// process when the access is repeated.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Some(Handling { previous, .. }) = HANDLING.get() else {
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
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::{Command, ExitStatus};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::sys::Mapping;
    use crate::sys::OpenFile;

    const VARIABLE: &str = "UNDERPASS_TEST_CHILD";

    /// Runs a test of this module in a process of its own.
    fn child(test: &str) -> Option<ExitStatus> {
        if std::env::var_os(VARIABLE).is_some() {
            return None;
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        let name = format!("sys::sigbus::tests::{test}");
        command.args(["--exact", &name]).env(VARIABLE, "1");
        Some(command.output().unwrap().status)
    }

    fn file() -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(20_000).unwrap();
        file
    }

    /// A mapping of this crate whose pages are gone.
    fn ours() -> bytes::Bytes {
        let file = Arc::new(OpenFile::new(file()).unwrap());
        let bytes = Mapping::new(Arc::clone(&file)).unwrap().bytes(0..20_000);
        file.file().set_len(0).unwrap();
        bytes
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
    fn pitfall_22_a_fault_of_our_own_is_survived() {
        match child("pitfall_22_a_fault_of_our_own_is_survived") {
            Some(status) => assert!(status.success(), "{status}"),
            None => assert!(ours().iter().all(|byte| *byte == 0)),
        }
    }

    #[test]
    fn pitfall_22_a_fault_of_another_mapping_kills_as_ever() {
        if let Some(status) = child("pitfall_22_a_fault_of_another_mapping_kills_as_ever") {
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
            return;
        }
        assert_eq!(ours()[0], 0);
        read(foreign());
    }

    #[test]
    fn a_signal_that_another_process_sends_kills_as_ever() {
        if let Some(status) = child("a_signal_that_another_process_sends_kills_as_ever") {
            assert_eq!(status.signal(), Some(libc::SIGBUS), "{status}");
            return;
        }
        let held = ours();
        // SAFETY: sends a signal to this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGBUS) };
        drop(held);
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
        assert_eq!(ours()[5000], 0);
        assert_eq!(SEEN.load(Ordering::Relaxed), 0);
        let place = foreign();
        read(place);
        assert_eq!(SEEN.load(Ordering::Relaxed), place.addr());
        assert_eq!(ours()[5000], 0, "it is still installed");
    }
}
