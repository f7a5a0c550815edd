//! Reading a page of a mapping whose file was truncated raises SIGBUS, which ends the process unless it is handled
//! (pitfall 22). The handler puts a page of zeros in its place and marks the mapping, as systemd's `sigbus` does; whoever
//! sends from it fails that one response.

use std::mem;
use std::ptr;
use std::sync::OnceLock;

use libc::{c_int, c_void, siginfo_t};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use super::region;

/// Who handled SIGBUS before: faults that are none of ours are theirs.
static PREVIOUS: OnceLock<libc::sigaction> = OnceLock::new();

/// Installs the handler for the process, once: by the region, when the first file is mapped.
pub(super) fn install() {
    // SAFETY: an all-zero sigaction is a valid value to fill in.
    let mut previous: libc::sigaction = unsafe { mem::zeroed() };
    // SAFETY: reads the current handler into a local.
    unsafe { libc::sigaction(libc::SIGBUS, ptr::null(), &raw mut previous) };
    let _ = PREVIOUS.set(previous);
    // SAFETY: as above.
    let mut action: libc::sigaction = unsafe { mem::zeroed() };
    action.sa_sigaction = on_sigbus as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
    // SAFETY: the handler makes only calls that are safe in a signal handler: atomics and mmap(2).
    unsafe { libc::sigaction(libc::SIGBUS, &raw const action, ptr::null_mut()) };
}

extern "C" fn on_sigbus(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    // SAFETY: the kernel passes a valid siginfo_t, and for SIGBUS its address field is the set one.
    let address = unsafe { (*info).si_addr() }.addr();
    // SAFETY: the thread that faulted holds a slice of the mapping, so the mapping is alive.
    let owner = region::existing().and_then(|region| unsafe { region.owner(address).as_ref() });
    if let Some(mapping) = owner
        && replace_page(address)
    {
        mapping.spoil();
        return;
    }
    pass_on(signal, info, context);
}

fn replace_page(address: usize) -> bool {
    let page = rustix::param::page_size();
    let place = ptr::with_exposed_provenance_mut(address & !(page - 1));
    let flags = MapFlags::PRIVATE | MapFlags::FIXED;
    // SAFETY: the page belongs to a mapping of ours and has no content to lose.
    unsafe { mmap_anonymous(place, page, ProtFlags::READ, flags) }.is_ok()
}

/// To the handler that was there before; the default one is put back, and ends the process when the access is tried again.
fn pass_on(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
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
