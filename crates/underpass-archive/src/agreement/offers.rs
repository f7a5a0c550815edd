//! The files that a sender could send, and what the receiver has of them.

use super::Malformed;
use crate::tar::Note;

/// The most files that are offered at once. The sender waits for the answers to all of them, so
/// that a million files take 1,000 round trips; and it keeps this many files in memory.
const MOST_FILES: usize = 1024;

/// The most bytes that offers take. The longest path of [`LONGEST_PATH`] bytes fits.
const MOST_BYTES: usize = 256 << 10;

/// The longest path that is offered. Files below longer ones are sent without being offered.
const LONGEST_PATH: usize = 65_535;

/// Size, time, and the length of the path.
const FIXED: usize = 8 + 8 + 4 + 2;

/// The length of a [`Have`].
pub const HAVE_LEN: usize = 41;

/// A file that could be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Offer {
    /// Its path in the archive.
    pub path: Vec<u8>,
    /// The length of its content, in bytes.
    pub size: u64,
    /// The time of the last change, in seconds since 1970.
    pub mtime: i64,
    /// The nanoseconds of that time, below 1,000,000,000.
    pub mtime_nanoseconds: u32,
}

impl Offer {
    /// Puts it together.
    pub fn new(path: &[u8], size: u64, (mtime, mtime_nanoseconds): (i64, u32)) -> Self {
        Self {
            path: path.to_vec(),
            size,
            mtime,
            mtime_nanoseconds,
        }
    }
}

/// Some files that could be sent, as one note of an archive.
///
/// ```
/// use underpass_archive::agreement::{Offer, Offers};
///
/// let offer = Offer::new(b"photos/1.jpg", 1_000_000, (1_234_567_890, 5));
/// let mut offers = Offers::default();
/// assert!(offers.push(&offer));
/// let content = offers.content().to_vec();
/// assert_eq!(Offers::read(&content).unwrap(), [offer]);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Offers {
    content: Vec<u8>,
    count: usize,
}

impl Offers {
    /// Adds a file. False if it does not fit: send what there is first. If it is the first one, its
    /// path is too long for any offer.
    pub fn push(&mut self, offer: &Offer) -> bool {
        let (path, length) = (&offer.path, FIXED + offer.path.len());
        let is_full = self.count == MOST_FILES || self.content.len() + length > MOST_BYTES;
        if is_full || path.len() > LONGEST_PATH {
            return false;
        }
        self.content.extend(offer.size.to_be_bytes());
        self.content.extend(offer.mtime.to_be_bytes());
        self.content.extend(offer.mtime_nanoseconds.to_be_bytes());
        self.content.extend((path.len() as u16).to_be_bytes());
        self.content.extend_from_slice(path);
        self.count += 1;
        true
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The content of the note.
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The whole note: header, content and padding.
    pub fn to_bytes(&self) -> Vec<u8> {
        Note::Offers.with_content(&self.content)
    }

    /// Reads the content of a note.
    ///
    /// # Errors
    /// It is none, or has more than any sender puts into one.
    pub fn read(mut content: &[u8]) -> Result<Vec<Offer>, Malformed> {
        const CUT: Malformed = Malformed("an offer is cut off");
        Self::check_len(content.len() as u64)?;
        let mut offers = Vec::new();
        while !content.is_empty() {
            let (fixed, rest) = content.split_first_chunk::<FIXED>().ok_or(CUT)?;
            let number = |at: usize| {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&fixed[at..at + 8]);
                bytes
            };
            let nanoseconds = u32::from_be_bytes([fixed[16], fixed[17], fixed[18], fixed[19]]);
            let length = usize::from(u16::from_be_bytes([fixed[20], fixed[21]]));
            let (path, rest) = rest.split_at_checked(length).ok_or(CUT)?;
            if nanoseconds >= 1_000_000_000 {
                return Err(Malformed("an offer has a time that is none"));
            }
            let time = (i64::from_be_bytes(number(8)), nanoseconds);
            offers.push(Offer::new(path, u64::from_be_bytes(number(0)), time));
            if offers.len() > MOST_FILES {
                return Err(Malformed("too many files are offered at once"));
            }
            content = rest;
        }
        Ok(offers)
    }

    /// Checks the length of a content before it is read.
    ///
    /// # Errors
    /// It is longer than any.
    pub fn check_len(length: u64) -> Result<(), Malformed> {
        if length > MOST_BYTES as u64 {
            return Err(Malformed("the offers are longer than any"));
        }
        Ok(())
    }
}

/// What a receiver has of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Have {
    /// Nothing.
    Nothing,
    /// Its first bytes.
    Part {
        /// How many.
        length: u64,
        /// The BLAKE3 hash of them, to verify; else zeros.
        hash: [u8; 32],
    },
    /// All of it.
    Whole {
        /// The BLAKE3 hash, to verify; else zeros.
        hash: [u8; 32],
    },
    /// Another file of that name, which is not to be replaced.
    Other,
    /// It is reading what it has, to hash it: the answer comes later.
    Working,
}

impl Have {
    /// The message.
    pub fn to_bytes(self) -> [u8; HAVE_LEN] {
        let none = [0; 32];
        let (code, length, hash) = match self {
            Self::Nothing => (0, 0, none),
            Self::Part { length, hash } => (1, length, hash),
            Self::Whole { hash } => (2, 0, hash),
            Self::Other => (3, 0, none),
            Self::Working => (4, 0, none),
        };
        let mut bytes = [0; HAVE_LEN];
        bytes[0] = code;
        bytes[1..9].copy_from_slice(&length.to_be_bytes());
        bytes[9..].copy_from_slice(&hash);
        bytes
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8; HAVE_LEN]) -> Result<Self, Malformed> {
        let mut length = [0; 8];
        length.copy_from_slice(&bytes[1..9]);
        let length = u64::from_be_bytes(length);
        let mut hash = [0; 32];
        hash.copy_from_slice(&bytes[9..]);
        Ok(match bytes[0] {
            0 => Self::Nothing,
            1 => Self::Part { length, hash },
            2 => Self::Whole { hash },
            3 => Self::Other,
            4 => Self::Working,
            _ => return Err(Malformed("the receiver has something unknown of a file")),
        })
    }
}
