//! unshare(2) of the network.

use std::io;

use rustix::thread::{UnshareFlags, unshare_unsafe};

/// Puts the calling thread, and no other, into a network namespace of its own.
pub(crate) fn leave_network() -> io::Result<()> {
    // SAFETY: CLONE_NEWNET leaves the table of descriptors shared, which is what the call's
    // contract is about.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}
