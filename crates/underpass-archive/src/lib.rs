//! A directory as one stream: memory and file ranges in order.
//!
//! A tar archive is headers of some hundred bytes, and the content of files between them. This
//! crate makes the headers and names the files; it never reads a file's content. So a program can
//! send the headers from memory and the content from the page cache, and nothing is copied. It also
//! knows the length of an archive before any file has been opened.
//!
//! ```
//! use underpass_archive::walk::Walk;
//! use underpass_archive::tar::{self, Member};
//!
//! let root = tempfile::tempdir()?;
//! std::fs::write(root.path().join("b"), "hello")?;
//! std::fs::write(root.path().join("a"), "")?;
//! let mut length = tar::END.len() as u64;
//! let mut paths = Vec::new();
//! for entry in Walk::new(root.path(), "photos")? {
//!     let entry = entry?;
//!     length += Member::new(&entry).len();
//!     paths.push(String::from_utf8_lossy(entry.path()).into_owned());
//! }
//! assert_eq!(paths, ["photos/", "photos/a", "photos/b"]);
//! assert_eq!(length % 512, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - [`walk`] lists what is below a directory, in a fixed order, without following any symbolic
//!   link.
//! - [`tar`] makes the headers of a pax archive, which GNU tar, bsdtar, busybox and Python read,
//!   and reads the headers of theirs.
//! - [`zip`] makes those of a zip archive of stored files, which unzip, 7-Zip and Python read.
//! - [`unpack`] puts the entries of an archive below a directory, which nothing leaves.
//! - [`agreement`] is what two programs of ours say to each other to verify and resume a transfer.

// On docs.rs, each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(missing_debug_implementations)]

#[cfg(not(target_os = "linux"))]
compile_error!("underpass-archive walks directories by Linux's own system calls");

pub mod agreement;
pub mod tar;
pub mod unpack;
pub mod walk;
pub mod zip;
