//! Open files: what they are, how their bytes are had without waiting for a disk, and which of them are kept open.

pub(crate) mod opened;
pub(crate) mod residency;

pub(crate) use opened::{Content, Opened};
