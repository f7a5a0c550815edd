//! HTTP semantics for a file server, as pure functions: nothing here opens a file or sends
//! anything.

pub(crate) mod conditional;
pub(crate) mod disposition;
pub(crate) mod entity_tag;
pub(crate) mod form_data;
pub(crate) mod host;
pub(crate) mod list;
pub(crate) mod media_type;
pub(crate) mod multipart;
pub(crate) mod negotiate;
pub(crate) mod path;
pub(crate) mod range;
