//! Finding and opening the files that are served, and getting at their content.

mod absolute_links;
mod content;
pub(crate) mod descriptors;
mod root;

pub(crate) use content::{Content, IN_MEMORY_UP_TO, Opened};
pub use root::Symlinks;
pub(crate) use root::{Root, Wait, is_missing};

/// The prefix of the names of unfinished uploads, if an upload needs a name. Such names are neither
/// served nor listed.
pub(crate) const UPLOAD_PREFIX: &str = ".underpass-upload-";
