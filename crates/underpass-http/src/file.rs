//! Finding and opening the files that are served, and getting at their content.

mod absolute_links;
mod content;
pub(crate) mod descriptors;
mod root;

pub(crate) use content::{Content, Opened};
pub use root::Symlinks;
pub(crate) use root::{Root, Wait, is_missing};

/// The names of unfinished uploads begin with this, where an upload has to have a name. They are
/// neither served nor listed.
pub(crate) const UPLOAD_PREFIX: &str = ".underpass-upload-";
