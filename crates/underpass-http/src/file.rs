//! Open files: what they are, how their bytes are had without waiting for a disk, and which of them are kept open.

mod absolute_links;
mod content;
pub(crate) mod descriptors;
mod root;

pub(crate) use content::{Content, Opened};
pub use root::Symlinks;
pub(crate) use root::{Root, Wait, is_missing};
