//! Entries that two programs of ours agreed on. See [`crate::agreement`].

use tar::{EntryType, Header};

use super::padding;

/// An entry that is not to be unpacked: it says something about the one before or after it.
///
/// Its type is an upper-case letter, which POSIX leaves to programs, and which none of the known
/// tar programs uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// The content is [`Offers`](crate::agreement::Offers).
    Offers,
    /// The next file goes on at a byte: the path is its decimal number.
    GoesOn,
    /// The path is the BLAKE3 hash of the file before, in hexadecimal digits.
    Hash,
    /// The sender is reading, and sends nothing meanwhile.
    Working,
}

impl Note {
    const ALL: [(u8, Self); 4] = [
        (b'Q', Self::Offers),
        (b'R', Self::GoesOn),
        (b'H', Self::Hash),
        (b'W', Self::Working),
    ];

    /// The note of a type.
    pub(super) fn of(byte: u8) -> Option<Self> {
        let known = Self::ALL.iter().find(|(known, _)| *known == byte);
        known.map(|(_, note)| *note)
    }

    /// A note that says where the next file goes on.
    pub fn goes_on(at: u64) -> Vec<u8> {
        Self::GoesOn.header(at.to_string().as_bytes(), 0)
    }

    /// Reads where the next file goes on, from the path of such a note.
    pub fn read_goes_on(path: &[u8]) -> Option<u64> {
        std::str::from_utf8(path).ok()?.parse().ok()
    }

    /// A note with the hash of the file before.
    pub fn hash(hash: &[u8; 32]) -> Vec<u8> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = hash.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        let hex: Vec<u8> = digits.map(|digit| DIGITS[usize::from(digit)]).collect();
        Self::Hash.header(&hex, 0)
    }

    /// Reads the hash of the file before, from the path of such a note.
    ///
    /// ```
    /// use underpass_archive::tar::{Note, Reader};
    ///
    /// let note = Note::hash(&[0xab; 32]);
    /// let member = Reader::new().next(&mut &note[..])?.unwrap();
    /// assert_eq!(Note::read_hash(&member.path), Some([0xab; 32]));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read_hash(path: &[u8]) -> Option<[u8; 32]> {
        let digits = std::str::from_utf8(path).ok()?;
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).ok()?;
        }
        Some(hash)
    }

    /// A note that nothing comes for a while.
    pub fn working() -> Vec<u8> {
        Self::Working.header(b"", 0)
    }

    /// The whole note: header, content and padding.
    pub(crate) fn with_content(self, content: &[u8]) -> Vec<u8> {
        let length = content.len() as u64;
        let mut bytes = self.header(b"", length);
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + padding(length) as usize, 0);
        bytes
    }

    fn header(self, path: &[u8], size: u64) -> Vec<u8> {
        let mut header = Header::new_ustar();
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.name[..path.len()].copy_from_slice(path);
        }
        let byte = Self::ALL.iter().find(|(_, note)| *note == self);
        header.set_entry_type(EntryType::new(byte.map_or(b'0', |(byte, _)| *byte)));
        header.set_size(size);
        header.set_cksum();
        header.as_bytes().to_vec()
    }
}
