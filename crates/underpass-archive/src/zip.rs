//! The headers of a zip archive whose files are stored, not compressed.
//!
//! An archive is, for each member, its [local header](Member::local_header) and the content of the
//! file. Then come the [central headers](Member::central_header) of all members, in the same order,
//! and the [`end`].
//!
//! # What is written
//! - Names that are UTF-8 are marked as such. Others are written as they are, without the mark;
//!   each program then guesses.
//! - Times in UTC, in steps of two seconds as zip has them, and exactly to the second in the
//!   extra field `UT` if 32 bits hold them.
//! - Permissions, in the way of Unix.
//! - zip64, where a size, an offset or a number of members needs it, and only there.
//!
//! Only the checksum (CRC-32) of a member depends on the content of its file. The length of a
//! header does not, so the length of an archive is known before any file has been read.
//!
//! The same members always give the same bytes.

use time::DosTime;

mod time;

/// The largest number of a field of 32 bits. It means that the number is in the zip64 field.
const MOST: u64 = u32::MAX as u64;

/// The same for fields of 16 bits.
const MOST_MEMBERS: u64 = u16::MAX as u64;

/// The longest name that a header can hold, in bytes.
pub const MOST_NAME: usize = u16::MAX as usize;

const LOCAL: u32 = 0x0403_4B50;
const CENTRAL: u32 = 0x0201_4B50;
const END: u32 = 0x0605_4B50;
const ZIP64_END: u32 = 0x0606_4B50;
const ZIP64_LOCATOR: u32 = 0x0706_4B50;

/// Version 2.0 of the format has directories, version 4.5 has zip64.
const VERSION: u16 = 20;
const VERSION_ZIP64: u16 = 45;

/// The attributes are those of Unix.
const MADE_ON_UNIX: u16 = 3 << 8;

/// Bit 11 of the flags: the name is UTF-8.
const UTF8: u16 = 1 << 11;

/// MS-DOS's attribute of directories, for programs that do not read those of Unix.
const DOS_DIRECTORY: u32 = 0x10;

const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;

const ZIP64: u16 = 0x0001;
const TIMESTAMP: u16 = 0x5455;

/// One file or directory of an archive.
///
/// ```
/// use underpass_archive::zip::{self, Member};
///
/// let hello = Member {
///     name: b"hello.txt",
///     size: 5,
///     mode: 0o644,
///     mtime: 1_700_000_000,
/// };
/// let mut archive = hello.local_header(0x3610_A686);
/// archive.extend_from_slice(b"hello");
/// let at = archive.len() as u64;
/// archive.extend_from_slice(&hello.central_header(0x3610_A686, 0));
/// archive.extend_from_slice(&zip::end(1, at, archive.len() as u64 - at));
/// assert_eq!(at, hello.local_header_len() + 5);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member<'a> {
    /// Its path, with slashes; that of a directory ends with one. At most [`MOST_NAME`] bytes.
    pub name: &'a [u8],
    /// The length of the content, in bytes; 0 for a directory.
    pub size: u64,
    /// The permissions: the lowest 12 bits of the mode.
    pub mode: u32,
    /// The time of the last change, in seconds since 1970.
    pub mtime: i64,
}

impl Member<'_> {
    /// What comes before the content, whose checksum is `crc`.
    pub fn local_header(&self, crc: u32) -> Vec<u8> {
        let is_large = self.size >= MOST;
        let mut extra = Vec::new();
        if is_large {
            // Both sizes, even if the other one would fit (APPNOTE 4.5.3).
            zip64(&mut extra, &[self.size, self.size]);
        }
        self.timestamp(&mut extra);
        let mut out = Vec::with_capacity(30 + self.name.len() + extra.len());
        put32(&mut out, LOCAL);
        self.common(&mut out, crc, is_large, extra.len());
        out.extend_from_slice(self.name);
        out.extend_from_slice(&extra);
        out
    }

    /// The length of the [local header](Self::local_header).
    pub fn local_header_len(&self) -> u64 {
        let zip64 = if self.size >= MOST { 20 } else { 0 };
        30 + self.name.len() as u64 + zip64 + self.timestamp_len()
    }

    /// Its entry in the directory at the end of the archive. `offset` is that of its local header
    /// from the beginning of the archive.
    pub fn central_header(&self, crc: u32, offset: u64) -> Vec<u8> {
        let is_large = self.size >= MOST;
        let mut extra = Vec::new();
        match (is_large, offset >= MOST) {
            (true, true) => zip64(&mut extra, &[self.size, self.size, offset]),
            (true, false) => zip64(&mut extra, &[self.size, self.size]),
            (false, true) => zip64(&mut extra, &[offset]),
            (false, false) => {}
        }
        self.timestamp(&mut extra);
        let mut out = Vec::with_capacity(46 + self.name.len() + extra.len());
        put32(&mut out, CENTRAL);
        put16(&mut out, MADE_ON_UNIX | VERSION_ZIP64);
        self.common(&mut out, crc, is_large || offset >= MOST, extra.len());
        // The length of the comment, the number of the disk, and that the content is not text.
        put16(&mut out, 0);
        put16(&mut out, 0);
        put16(&mut out, 0);
        put32(&mut out, self.attributes());
        put32(&mut out, offset.min(MOST) as u32);
        out.extend_from_slice(self.name);
        out.extend_from_slice(&extra);
        out
    }

    /// The length of the [central header](Self::central_header).
    pub fn central_header_len(&self, offset: u64) -> u64 {
        let sizes = if self.size >= MOST { 16 } else { 0 };
        let zip64 = sizes + if offset >= MOST { 8 } else { 0 };
        let zip64 = if zip64 > 0 { zip64 + 4 } else { 0 };
        46 + self.name.len() as u64 + zip64 + self.timestamp_len()
    }

    fn is_directory(&self) -> bool {
        self.name.ends_with(b"/")
    }

    fn attributes(&self) -> u32 {
        let mode = self.mode & 0o7777;
        if self.is_directory() {
            (S_IFDIR | mode) << 16 | DOS_DIRECTORY
        } else {
            (S_IFREG | mode) << 16
        }
    }

    /// The fields from the version to the length of the extra fields, which both headers have.
    fn common(&self, out: &mut Vec<u8>, crc: u32, zip64: bool, extra: usize) {
        put16(out, if zip64 { VERSION_ZIP64 } else { VERSION });
        let is_utf8 = std::str::from_utf8(self.name).is_ok();
        put16(out, if is_utf8 { UTF8 } else { 0 });
        // Method 0: stored.
        put16(out, 0);
        let DosTime { time, date } = DosTime::of(self.mtime);
        put16(out, time);
        put16(out, date);
        put32(out, crc);
        let size = self.size.min(MOST) as u32;
        put32(out, size);
        put32(out, size);
        put16(out, self.name.len().min(MOST_NAME) as u16);
        put16(out, extra as u16);
    }

    fn timestamp(&self, extra: &mut Vec<u8>) {
        if let Ok(mtime) = i32::try_from(self.mtime) {
            put16(extra, TIMESTAMP);
            put16(extra, 5);
            // Bit 0: the time of modification follows.
            extra.push(1);
            extra.extend_from_slice(&mtime.to_le_bytes());
        }
    }

    fn timestamp_len(&self) -> u64 {
        if i32::try_from(self.mtime).is_ok() {
            9
        } else {
            0
        }
    }
}

/// The end of an archive: `offset` and `len` are those of its central headers, in bytes.
pub fn end(members: u64, offset: u64, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    if needs_zip64(members, offset, len) {
        put32(&mut out, ZIP64_END);
        // The length of the rest of this record.
        put64(&mut out, 44);
        put16(&mut out, MADE_ON_UNIX | VERSION_ZIP64);
        put16(&mut out, VERSION_ZIP64);
        put32(&mut out, 0);
        put32(&mut out, 0);
        put64(&mut out, members);
        put64(&mut out, members);
        put64(&mut out, len);
        put64(&mut out, offset);
        put32(&mut out, ZIP64_LOCATOR);
        put32(&mut out, 0);
        put64(&mut out, offset + len);
        // The number of disks.
        put32(&mut out, 1);
    }
    put32(&mut out, END);
    put16(&mut out, 0);
    put16(&mut out, 0);
    put16(&mut out, members.min(MOST_MEMBERS) as u16);
    put16(&mut out, members.min(MOST_MEMBERS) as u16);
    put32(&mut out, len.min(MOST) as u32);
    put32(&mut out, offset.min(MOST) as u32);
    // The length of the comment.
    put16(&mut out, 0);
    out
}

/// The length of the [`end`].
pub fn end_len(members: u64, offset: u64, len: u64) -> u64 {
    let zip64 = if needs_zip64(members, offset, len) {
        76
    } else {
        0
    };
    zip64 + 22
}

fn needs_zip64(members: u64, offset: u64, len: u64) -> bool {
    members >= MOST_MEMBERS || offset >= MOST || len >= MOST
}

fn zip64(extra: &mut Vec<u8>, numbers: &[u64]) {
    put16(extra, ZIP64);
    put16(extra, 8 * numbers.len() as u16);
    for number in numbers {
        put64(extra, *number);
    }
}

fn put16(out: &mut Vec<u8>, number: u16) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put32(out: &mut Vec<u8>, number: u32) {
    out.extend_from_slice(&number.to_le_bytes());
}

fn put64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

#[cfg(test)]
mod tests;
