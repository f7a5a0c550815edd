//! A directory as one file, tar or zip. Its length is known before the first byte is sent, and any
//! range of it can be sent.
//!
//! A [`Plan`] lists the directory once, without opening a file. It keeps no entries, only the
//! length, a digest, and a checkpoint for every few hundred entries. [`Parts`] lists the directory
//! again while it is sent, from the checkpoint before the range, and compares each stretch with the
//! plan before its first byte leaves. So memory does not grow with the directory, and a directory
//! that changed meanwhile is noticed.

mod checksum;
mod digest;
mod entry;
mod format;
mod left_out;
mod names;
mod parts;
mod plan;
mod tree;
mod walk;

pub(crate) use checksum::Checksums;
pub(crate) use format::Format;
pub(crate) use parts::Parts;
pub(crate) use plan::{Plan, PlanError, PlanLimits};
pub(crate) use tree::Tree;

#[cfg(test)]
mod tests;
