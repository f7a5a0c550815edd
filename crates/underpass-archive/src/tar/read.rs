//! Reads the headers of an archive: of GNU tar, bsdtar, busybox, Python, and of this crate.
//!
//! The reader takes exactly the bytes of the headers, and never those of a content. So a program
//! can splice the content from a socket into a file.

use std::fmt;
use std::io::{self, Read};

use tar::{EntryType, Header};

use super::{Note, SparseMap, padding};
use extended::Extended;

mod extended;
mod sparse_read;

/// The most bytes that all extended headers of one entry may take. Linux's own limits allow a path
/// of 4 KiB, a link of 4 KiB, and 64 KiB of extended attributes.
pub const MAX_EXTENDED: u64 = 1 << 20;

/// An entry of an archive that is read. Its content follows: [`stored`](Self::stored) bytes, then
/// [`padding`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadMember {
    /// The path as it is written, of any bytes.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ReadKind,
    /// How many bytes of content follow.
    pub stored: u64,
    /// Where they belong, if the file has holes.
    pub sparse: Option<SparseMap>,
    /// The permissions: the lowest 12 bits of the mode.
    pub mode: u32,
    /// The time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// The nanoseconds of that time, below 1,000,000,000.
    pub mtime_nanoseconds: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Extended attributes: pairs of name and value.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a [`ReadMember`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, and where it leads.
    Symlink(Vec<u8>),
    /// Another name of a file, and the path of that file in the archive.
    HardLink(Vec<u8>),
    /// A device, a FIFO, or something else: its type, in a few words.
    Other(&'static str),
    /// Not to be unpacked: something that two programs agreed on.
    Note(Note),
}

/// Why an archive cannot be read on.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReadError {
    /// Reading failed. `UnexpectedEof`: the stream ended within a header, or before the end of the
    /// archive.
    Io(io::Error),
    /// What was read is no header: why, in a few words.
    Malformed(&'static str),
}

/// Reads the headers of an archive, one after the other.
///
/// ```
/// use std::io::Read;
/// use underpass_archive::tar::{self, Member, Reader};
/// use underpass_archive::walk::Walk;
///
/// let root = tempfile::tempdir()?;
/// let entry = Walk::new(root.path(), "empty")?.next().unwrap()?;
/// let archive = [Member::new(&entry).header(), tar::END.to_vec()].concat();
///
/// let mut input = &archive[..];
/// let mut reader = Reader::new();
/// assert_eq!(reader.next(&mut input)?.unwrap().path, b"empty/");
/// assert_eq!(reader.next(&mut input)?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Reader {
    /// Records that hold for all entries that follow (`g`).
    global: Extended,
}

impl Reader {
    /// A reader at the start of an archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the header of the next entry. The caller has read the content and padding of the one
    /// before. `None` is the end of the archive: two blocks of zeros.
    ///
    /// # Errors
    /// What `input` returned, or that this is no archive. It cannot be read on then.
    pub fn next(&mut self, input: &mut impl Read) -> Result<Option<ReadMember>, ReadError> {
        let mut extended = self.global.clone();
        let mut budget = MAX_EXTENDED;
        let mut read_extended = false;
        loop {
            let Some(header) = read_header(input)? else {
                return if read_extended {
                    Err(ReadError::Malformed("an extended header without an entry"))
                } else {
                    Ok(None)
                };
            };
            let size = entry_size(&header)?;
            let kind = header.entry_type();
            if !is_extension(kind) {
                return member(&header, size, extended, input).map(Some);
            }
            read_extended |= kind.as_byte() != LABEL;
            budget = budget
                .checked_sub(size.saturating_add(512))
                .ok_or(ReadError::Malformed(
                    "an extended header of more than 1 MiB",
                ))?;
            let content = read_content(input, size)?;
            match kind {
                EntryType::XGlobalHeader => {
                    self.global.records(&content)?;
                    extended = self.global.clone();
                    read_extended = false;
                }
                EntryType::XHeader => extended.records(&content)?,
                EntryType::GNULongName => extended.path = Some(until_zero(&content).to_vec()),
                kind if kind.as_byte() == LABEL => {}
                _ => extended.link = Some(until_zero(&content).to_vec()),
            }
        }
    }
}

/// A block, for buffers.
const BLOCK_BYTES: usize = super::BLOCK as usize;

const BAD_NUMBER: ReadError = ReadError::Malformed("a number in a header is none");

/// The type of a volume's name, which GNU tar writes before all entries. It says nothing of them.
const LABEL: u8 = b'V';

/// The type of a directory in GNU tar's incremental archives. Its content is a list of names.
const LISTED_DIRECTORY: u8 = b'D';

/// The size that a header states. GNU tar leaves it out before a volume's name.
fn entry_size(header: &Header) -> Result<u64, ReadError> {
    if header.as_old().size.iter().all(|it| matches!(it, 0 | b' ')) {
        return Ok(0);
    }
    header.entry_size().map_err(|_| BAD_NUMBER)
}

fn is_extension(kind: EntryType) -> bool {
    kind.as_byte() == LABEL
        || matches!(
            kind,
            EntryType::XHeader
                | EntryType::XGlobalHeader
                | EntryType::GNULongName
                | EntryType::GNULongLink
        )
}

/// Reads a block. `None` if it and the next one are zeros.
fn read_header(input: &mut impl Read) -> Result<Option<Header>, ReadError> {
    let mut header = Header::new_old();
    input.read_exact(header.as_mut_bytes())?;
    if is_zero(header.as_bytes()) {
        input.read_exact(header.as_mut_bytes())?;
        return if is_zero(header.as_bytes()) {
            Ok(None)
        } else {
            Err(ReadError::Malformed("a single block of zeros"))
        };
    }
    let stated = header.cksum().map_err(|_| NO_HEADER)?;
    let (unsigned, signed) = sums(header.as_bytes());
    if stated != unsigned && stated != signed {
        return Err(NO_HEADER);
    }
    Ok(Some(header))
}

const NO_HEADER: ReadError = ReadError::Malformed("not a tar header (its checksum is wrong)");

/// Both checksums of a header: some old programs added up signed bytes.
fn sums(block: &[u8; 512]) -> (u32, u32) {
    let counted = |at: usize| {
        if (148..156).contains(&at) {
            b' '
        } else {
            block[at]
        }
    };
    let unsigned = (0..512).map(|at| u32::from(counted(at))).sum();
    let signed: i32 = (0..512).map(|at| i32::from(counted(at) as i8)).sum();
    (unsigned, signed as u32)
}

fn is_zero(block: &[u8]) -> bool {
    block.iter().all(|byte| *byte == 0)
}

/// Reads a content that goes into memory, and its padding.
fn read_content(input: &mut impl Read, size: u64) -> Result<Vec<u8>, ReadError> {
    let mut content = vec![0; (size + padding(size)) as usize];
    input.read_exact(&mut content)?;
    content.truncate(size as usize);
    Ok(content)
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// Makes the entry of a plain header and the records before it. Reads the map of a sparse file.
fn member(
    header: &Header,
    size: u64,
    extended: Extended,
    input: &mut impl Read,
) -> Result<ReadMember, ReadError> {
    let ustar_path = header.path_bytes().into_owned();
    let plain_path = until_zero(&ustar_path);
    let path = extended.path.clone().unwrap_or_else(|| plain_path.to_vec());
    let link = extended
        .link
        .clone()
        .or_else(|| header.link_name_bytes().map(|it| it.to_vec()));
    let mut stored = extended.size.unwrap_or(size);
    let kind = kind(header, &path, link.unwrap_or_default());
    if matches!(
        kind,
        ReadKind::Directory | ReadKind::Symlink(_) | ReadKind::HardLink(_)
    ) {
        // POSIX lets a link have a size that says nothing; a directory's content is none of ours.
        stored = match header.entry_type() {
            EntryType::Directory | EntryType::Link | EntryType::Symlink => 0,
            _ => stored,
        };
    }
    let sparse = match kind {
        ReadKind::File => sparse_read::map(header, &extended, &mut stored, input)?,
        _ => None,
    };
    let (mtime, mtime_nanoseconds) = match extended.mtime {
        Some(time) => time,
        // Times before 1970 are binary numbers, of which these are the last 64 bits.
        None => (header.mtime().unwrap_or(0) as i64, 0),
    };
    if stored
        .checked_add(padding(stored))
        .is_none_or(|end| end > i64::MAX as u64)
    {
        return Err(ReadError::Malformed("a size that no file has"));
    }
    Ok(ReadMember {
        path: extended.sparse_name.clone().unwrap_or(path),
        kind,
        stored,
        sparse,
        mode: header.mode().unwrap_or(0o600) & 0o7777,
        mtime,
        mtime_nanoseconds,
        uid: extended.uid.unwrap_or_else(|| header.uid().unwrap_or(0)),
        gid: extended.gid.unwrap_or_else(|| header.gid().unwrap_or(0)),
        xattrs: extended.xattrs,
    })
}

fn kind(header: &Header, path: &[u8], link: Vec<u8>) -> ReadKind {
    match header.entry_type() {
        EntryType::Directory => ReadKind::Directory,
        // The format before 1988 has no type for directories.
        EntryType::Regular if path.ends_with(b"/") => ReadKind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => ReadKind::File,
        EntryType::Symlink => ReadKind::Symlink(link),
        EntryType::Link => ReadKind::HardLink(link),
        EntryType::Char => ReadKind::Other("a character device"),
        EntryType::Block => ReadKind::Other("a block device"),
        EntryType::Fifo => ReadKind::Other("a FIFO"),
        other if other.as_byte() == LISTED_DIRECTORY => ReadKind::Directory,
        other => match Note::of(other.as_byte()) {
            Some(note) => ReadKind::Note(note),
            None => ReadKind::Other("of an unknown type"),
        },
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the archive was cut off: its end is missing")
            }
            Self::Io(error) => error.fmt(f),
            Self::Malformed(why) => write!(f, "{why}"),
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Malformed(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
