//! Open files: what they are, how their bytes are had without waiting for a disk, and which of them are kept open.

mod absolute;
pub(crate) mod descriptors;
mod opened;
pub(crate) mod residency;
mod root;

pub(crate) use opened::{Content, OpenFile, Opened, Version, truncated};
pub use root::Symlinks;
pub(crate) use root::{Root, Wait, is_missing};
