//! What a transfer can take bytes from.

use rustix::fd::{AsFd, BorrowedFd};

use crate::memory::Memory;
use crate::route::Origin;

/// Something bytes can be taken from: any [`AsFd`], or [`Memory`].
pub trait Input: sealed::Sealed {
    #[doc(hidden)]
    fn descriptor(&self) -> Option<BorrowedFd<'_>>;
    #[doc(hidden)]
    fn memory(&self) -> Option<&[u8]> {
        None
    }
    /// Takes the memory out, leaving an empty one.
    #[doc(hidden)]
    fn take_memory(&mut self) -> Option<Memory> {
        None
    }
}

pub(super) mod sealed {
    use rustix::fd::AsFd;

    pub trait Sealed {}
    impl<T: AsFd> Sealed for T {}
    impl Sealed for super::Memory {}
}

impl<T: AsFd> Input for T {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.as_fd())
    }
}

impl Input for Memory {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn memory(&self) -> Option<&[u8]> {
        Some(self.bytes())
    }

    fn take_memory(&mut self) -> Option<Memory> {
        Some(std::mem::replace(self, Memory::new([])))
    }
}

/// Where a route takes bytes from.
pub(super) fn origin<S: Input>(source: &S) -> Option<Origin<'_>> {
    source
        .memory()
        .map(Origin::Memory)
        .or_else(|| source.descriptor().map(Origin::Fd))
}
