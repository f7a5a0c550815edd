//! Memory as a source, owned until the kernel no longer refers to it.

use std::fmt;

/// Bytes that a transfer owns; made by [`Transfer::from_memory`](crate::Transfer::from_memory).
///
/// With `MSG_ZEROCOPY` the kernel reads the pages after the call has returned, so nobody may write
/// to them meanwhile. The transfer owns them, so safe code cannot.
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
