//! What one transfer of a sequence takes its bytes from.

use std::fs::File;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};

use crate::memory::Memory;
use crate::transfer::Input;
use crate::transfer::input::sealed::Sealed;

#[derive(Debug)]
pub(super) enum PartSource {
    Memory(Memory),
    File(Arc<File>),
}

impl Sealed for PartSource {}

impl Input for PartSource {
    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Memory(_) => None,
            Self::File(file) => Some(file.as_fd()),
        }
    }

    fn memory(&self) -> Option<&[u8]> {
        match self {
            Self::Memory(memory) => Some(memory.bytes()),
            Self::File(_) => None,
        }
    }
}
