//! What two programs of ours agree on before a transfer: to verify it, and to resume it.
//!
//! Programs that are asked for neither never see any of this. The sender speaks first.
//!
//! 1. The sender sends a [`HELLO_LEN`]-byte [`Hello`]: a version, and what it was asked for.
//! 2. The receiver answers with an [`Answer`] of [`ANSWER_LEN`] bytes: that it was asked for the
//!    same, or for what instead. In the second case both give up.
//! 3. The sender sends a tar archive with [notes](crate::tar::Note) between the entries, which are
//!    headers of types that no tar program uses:
//!    - To resume: [`Offers`] name some files, and the sender waits for one [`Have`] for each. A
//!      file that the receiver has whole is left out; of one that it has in part, the rest is sent,
//!      as a file with holes, after a note that says where it goes on.
//!    - To verify: after each file comes a note with the BLAKE3 hash of its whole content.
//! 4. After the end of the archive the receiver sends a [`Report`] of [`REPORT_LEN`] bytes.
//!
//! All numbers are big-endian. Every message has a fixed or a bounded length. A file that is sent
//! alone is an archive of one file.

use std::fmt;

pub use offers::{HAVE_LEN, Have, Offer, Offers};

mod offers;

/// The length of a [`Hello`]: a block of a tar archive, so that a reader of archives that gets one
/// unexpectedly has read all of it.
pub const HELLO_LEN: usize = 512;

/// The length of an [`Answer`].
pub const ANSWER_LEN: usize = 16;

/// The length of a [`Report`].
pub const REPORT_LEN: usize = 48;

/// The version of everything here.
const VERSION: u8 = 1;

const HELLO: [u8; 8] = *b"\x89UNDHEL\n";
const ANSWER: [u8; 8] = *b"\x89UNDANS\n";
const REPORT: [u8; 8] = *b"\x89UNDREP\n";

/// Why a message cannot be what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(crate) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// What a side was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Wishes {
    /// A hash of each file is computed at both ends and compared.
    pub verify: bool,
    /// What is there already is not sent again.
    pub resume: bool,
    /// One file is sent, not a tree.
    pub single: bool,
}

impl Wishes {
    /// Puts them together.
    pub const fn new(verify: bool, resume: bool, single: bool) -> Self {
        Self {
            verify,
            resume,
            single,
        }
    }

    /// Whether there is anything to agree on.
    pub const fn any(self) -> bool {
        self.verify || self.resume
    }

    fn bits(self) -> u8 {
        u8::from(self.verify) | u8::from(self.resume) << 1 | u8::from(self.single) << 2
    }

    fn of_bits(bits: u8) -> Result<Self, Malformed> {
        match bits {
            0..8 => Ok(Self::new(bits & 1 > 0, bits & 2 > 0, bits & 4 > 0)),
            _ => Err(Malformed("it wishes for something unknown")),
        }
    }
}

/// Names the options of the command line.
impl fmt::Display for Wishes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.verify, self.resume) {
            (true, true) => "--verify --resume",
            (true, false) => "--verify",
            (false, true) => "--resume",
            (false, false) => "neither --verify nor --resume",
        })
    }
}

/// The first message, from the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// What the sender was asked for.
    pub wishes: Wishes,
}

impl Hello {
    /// A message of this version.
    pub const fn new(wishes: Wishes) -> Self {
        Self { wishes }
    }

    /// Whether these first bytes of a connection may be those of a hello.
    ///
    /// ```
    /// use underpass_archive::agreement::{Hello, Wishes};
    ///
    /// let hello = Hello::new(Wishes::new(true, false, false)).to_bytes();
    /// assert!(Hello::may_begin(&hello[..3]));
    /// assert!(!Hello::may_begin(b"\x89PNG"));
    /// ```
    pub fn may_begin(bytes: &[u8]) -> bool {
        let known = bytes.len().min(HELLO.len());
        bytes[..known] == HELLO[..known]
    }

    /// The message.
    pub fn to_bytes(self) -> [u8; HELLO_LEN] {
        head(HELLO, &[VERSION, self.wishes.bits()])
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It is none, of another version, or asks for something that this version does not know.
    pub fn read(bytes: &[u8; HELLO_LEN]) -> Result<Self, Malformed> {
        let rest = after(HELLO, bytes)?;
        if rest[0] != VERSION {
            return Err(Malformed("the sender speaks another version"));
        }
        if rest[2..].iter().any(|byte| *byte != 0) {
            return Err(Malformed(
                "the hello has more in it than this version knows",
            ));
        }
        Wishes::of_bits(rest[1]).map(Self::new)
    }
}

/// The receiver's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// It was asked for the same.
    Agreed,
    /// It was asked for these, and gives up.
    Differs(Wishes),
    /// It cannot read the hello, and gives up.
    Unknown,
}

impl Answer {
    /// What a receiver that was asked for `own` answers to a sender that was asked for `wishes`.
    pub fn to(wishes: Wishes, own: Wishes) -> Self {
        if wishes == own {
            Self::Agreed
        } else {
            Self::Differs(own)
        }
    }

    /// The message.
    pub fn to_bytes(self) -> [u8; ANSWER_LEN] {
        let (code, bits) = match self {
            Self::Agreed => (0, 0),
            Self::Differs(wishes) => (1, wishes.bits()),
            Self::Unknown => (2, 0),
        };
        head(ANSWER, &[VERSION, code, bits])
    }

    /// Reads a message. One of another version is [`Unknown`](Self::Unknown).
    ///
    /// # Errors
    /// It is none.
    pub fn read(bytes: &[u8; ANSWER_LEN]) -> Result<Self, Malformed> {
        let rest = after(ANSWER, bytes)?;
        match rest {
            [VERSION, 0, 0, ..] => Ok(Self::Agreed),
            [VERSION, 1, bits, ..] => Wishes::of_bits(*bits).map(Self::Differs),
            [VERSION, 2, 0, ..] => Ok(Self::Unknown),
            [VERSION, ..] => Err(Malformed("the answer is none that this version knows")),
            _ => Ok(Self::Unknown),
        }
    }
}

/// What the receiver says at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Files that were made.
    pub made: u64,
    /// Entries that were refused, such as files that exist.
    pub refused: u64,
    /// Files whose hash was another one, and that were not kept.
    pub mismatched: u64,
    /// Files that it had already.
    pub there: u64,
}

impl Report {
    /// Puts it together.
    pub const fn new(made: u64, refused: u64, mismatched: u64, there: u64) -> Self {
        Self {
            made,
            refused,
            mismatched,
            there,
        }
    }

    /// The message.
    pub fn to_bytes(self) -> [u8; REPORT_LEN] {
        let numbers = [self.made, self.refused, self.mismatched, self.there];
        let mut rest = [0; REPORT_LEN - 8];
        rest[0] = VERSION;
        for (place, number) in rest[8..].chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_be_bytes());
        }
        head(REPORT, &rest)
    }

    /// Reads a message.
    ///
    /// # Errors
    /// It is none of this version.
    pub fn read(bytes: &[u8; REPORT_LEN]) -> Result<Self, Malformed> {
        let rest = after(REPORT, bytes)?;
        if rest[0] != VERSION {
            return Err(Malformed("the report is of another version"));
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&rest[8 + at * 8..16 + at * 8]);
            u64::from_be_bytes(bytes)
        };
        Ok(Self::new(number(0), number(1), number(2), number(3)))
    }
}

/// A message that begins with `kind`; zeros follow what is given.
fn head<const LEN: usize>(kind: [u8; 8], rest: &[u8]) -> [u8; LEN] {
    let mut bytes = [0; LEN];
    bytes[..8].copy_from_slice(&kind);
    bytes[8..8 + rest.len()].copy_from_slice(rest);
    bytes
}

/// What follows the kind of a message.
fn after(kind: [u8; 8], bytes: &[u8]) -> Result<&[u8], Malformed> {
    bytes
        .strip_prefix(&kind)
        .ok_or(Malformed("it is no message of underpass"))
}

#[cfg(test)]
mod tests;
