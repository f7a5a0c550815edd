//! Tar archives: makes the headers of pax archives, the tar format of POSIX.1-2001, and reads those
//! of all tar programs.
//!
//! An archive is, for each entry, its [`Member::header`], the content of the file, and
//! [`padding`] with zeros; [`END`] comes last.
//!
//! # What is written
//! - A path of up to 255 bytes goes into the plain header if it can be split there; then programs
//!   that do not know pax (busybox) read it, too. Others go into a pax record. Names that are not
//!   UTF-8 are marked `hdrcharset=BINARY` there, as by bsdtar.
//! - Times have nanoseconds (pax record `mtime`).
//! - Owners are 0 unless [`Member::owners`] is asked for, so that an archive does not depend on who
//!   made it. There are no names of owners, because the numbers are what the file system stores.
//! - Extended attributes are the records `SCHILY.xattr.*`, which GNU tar, star and bsdtar use.
//! - A file with holes is written as GNU tar does it (`GNU.sparse`, version 1.0).
//!
//! The same entries always give the same bytes.

pub use member::Member;
pub use note::Note;
pub use read::{MAX_EXTENDED, ReadError, ReadKind, ReadMember, Reader};
pub use sparse::SparseMap;

mod member;
mod note;
mod pax;
mod read;
mod sparse;

/// Everything in an archive is a multiple of this, in bytes.
pub const BLOCK: u64 = 512;

/// The end of an archive: two blocks of zeros.
pub const END: &[u8] = &[0; 2 * BLOCK as usize];

/// How many zeros follow a content of `size` bytes.
///
/// ```
/// assert_eq!(underpass_archive::tar::padding(513), 511);
/// assert_eq!(underpass_archive::tar::padding(512), 0);
/// ```
pub fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK
}

#[cfg(test)]
mod tests;
