//! Memory as a source: owned until the kernel has let go of it.

use std::fmt;

/// Bytes that a transfer owns; made by [`Transfer::from_memory`](crate::Transfer::from_memory).
///
/// Ownership is the safety of `MSG_ZEROCOPY`: the kernel reads the pages after the call has
/// returned, so nobody may write them until it says so, and with the owner inside the transfer safe
/// code cannot.
pub struct Memory {
    owner: Box<dyn AsRef<[u8]> + Send>,
}

impl Memory {
    pub(crate) fn new(owner: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self {
            owner: Box::new(owner),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        (*self.owner).as_ref()
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.bytes().len())
    }
}
