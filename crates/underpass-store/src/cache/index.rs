//! The index beside a cache file: whose bytes the file has, and which blocks of it are claimed.
//!
//! ```text
//! header   "UPCACHE1"  block size u32  length of key u32  length of tag u32  0 u32
//!          length of the object u64   key   tag   CRC of all this u64
//! claim    number of the block u64   CRC of its bytes u64   CRC of these two and the header's u64
//! claim    …
//! ```
//!
//! Numbers are little-endian. A CRC is CRC-64/NVME, S3's own: it must see what disks and crashes do
//! to a block, and nobody forges one here, so a hash like BLAKE3 would cost more for nothing.
//! Claims are appended. A crash can leave a part of the last one, which then counts as not written.

use crc_fast::{CrcAlgorithm, checksum};

/// Of another format, a cache has a directory of another name.
const MAGIC: &[u8; 8] = b"UPCACHE1";
const FIXED: usize = 32;
const CLAIM: usize = 24;
/// S3 keys have at most 1024 bytes; entity tags are much shorter.
const LONGEST_TEXT: usize = 16 << 10;

/// Whose bytes a file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) block_size: u32,
    /// Of the object.
    pub(crate) len: u64,
    pub(crate) key: String,
    /// What tells the version: entity tag, version, time.
    pub(crate) tag: String,
}

/// A block that is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) block: u64,
    pub(crate) crc: u64,
}

/// What an index says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) header: Header,
    /// In the order in which they were made. A later claim of a block replaces an earlier one.
    pub(crate) claims: Vec<Claim>,
    /// As many bytes of the file are good. What follows is torn.
    pub(crate) valid: usize,
}

pub(crate) fn crc(bytes: &[u8]) -> u64 {
    checksum(CrcAlgorithm::Crc64Nvme, bytes)
}

impl Header {
    /// The bytes of a header.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(FIXED + self.key.len() + self.tag.len() + 8);
        bytes.extend_from_slice(MAGIC);
        for number in [
            self.block_size,
            self.key.len() as u32,
            self.tag.len() as u32,
            0,
        ] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&self.len.to_le_bytes());
        bytes.extend_from_slice(self.key.as_bytes());
        bytes.extend_from_slice(self.tag.as_bytes());
        let crc = crc(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// What claims in this index are bound to, so that none counts in another one.
    pub(crate) fn seal(&self) -> u64 {
        let bytes = self.to_bytes();
        number(&bytes, bytes.len() - 8)
    }

    fn blocks(&self) -> u64 {
        self.len.div_ceil(u64::from(self.block_size))
    }
}

impl Claim {
    /// The bytes of a claim, in an index of this seal.
    pub(crate) fn to_bytes(self, seal: u64) -> [u8; CLAIM] {
        let mut bytes = [0; CLAIM];
        bytes[..8].copy_from_slice(&self.block.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.crc.to_le_bytes());
        // The seal stands where the checksum will be.
        bytes[16..].copy_from_slice(&seal.to_le_bytes());
        let check = crc(&bytes);
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        bytes
    }
}

/// Reads an index: the header, and claims up to the first that is not whole. `None` if there is no
/// whole header.
pub(crate) fn parse(bytes: &[u8]) -> Option<Index> {
    if bytes.len() < FIXED || !bytes.starts_with(MAGIC) {
        return None;
    }
    let text = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
    let (block_size, key_len, tag_len) = (text(8), text(12) as usize, text(16) as usize);
    if block_size == 0 || key_len > LONGEST_TEXT || tag_len > LONGEST_TEXT {
        return None;
    }
    let end = FIXED + key_len + tag_len;
    if bytes.len() < end + 8 || number(bytes, end) != crc(&bytes[..end]) {
        return None;
    }
    let string = |range: std::ops::Range<usize>| String::from_utf8(bytes[range].to_vec()).ok();
    let header = Header {
        block_size,
        len: number(bytes, 24),
        key: string(FIXED..FIXED + key_len)?,
        tag: string(FIXED + key_len..end)?,
    };
    // The four bytes that are always 0.
    if header.to_bytes() != bytes[..end + 8] {
        return None;
    }
    let (mut claims, mut valid, seal) = (Vec::new(), end + 8, number(bytes, end));
    while let Some(record) = bytes.get(valid..valid + CLAIM) {
        let (block, crc) = (number(record, 0), number(record, 8));
        let claim = Claim { block, crc };
        if claim.to_bytes(seal) != record || block >= header.blocks() {
            break;
        }
        claims.push(claim);
        valid += CLAIM;
    }
    Some(Index {
        header,
        claims,
        valid,
    })
}

/// The number at a place that is there.
fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn index(len: u64, key: &str, blocks: &[u64]) -> (Header, Vec<Claim>, Vec<u8>) {
        let header = Header {
            block_size: 1 << 20,
            len,
            key: key.into(),
            tag: "\"abc\"".into(),
        };
        let claims: Vec<_> = blocks
            .iter()
            .map(|block| Claim {
                block: block % header.blocks(),
                crc: block.wrapping_mul(0x9E37_79B9_7F4A_7C15),
            })
            .collect();
        let mut bytes = header.to_bytes();
        for claim in &claims {
            bytes.extend_from_slice(&claim.to_bytes(header.seal()));
        }
        (header, claims, bytes)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            len in 1_u64..1 << 50, key in "\\PC{0,50}", blocks in prop::collection::vec(0..9_u64, 0..20)
        ) {
            let (header, claims, bytes) = index(len, &key, &blocks);
            let valid = bytes.len();
            prop_assert_eq!(parse(&bytes), Some(Index { header, claims, valid }));
        }

        /// Wherever a crash or a disk ends or changes the file, no claim is read that was not made.
        #[test]
        fn what_is_torn_claims_less_and_never_more(
            blocks in prop::collection::vec(0..9_u64, 1..9), cut in 0.0..1.0_f64, flip in 0_u8..8
        ) {
            let (_, claims, bytes) = index(9 << 20, "key", &blocks);
            let at = (bytes.len() as f64 * cut) as usize;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << flip;
            for damaged in [&bytes[..at], &flipped] {
                if let Some(read) = parse(damaged) {
                    prop_assert!(read.claims.len() < claims.len());
                    prop_assert!(claims.starts_with(&read.claims));
                    prop_assert!(read.valid <= at);
                }
            }
        }
    }

    #[test]
    fn a_claim_counts_in_its_own_index_only() {
        let (_, _, mut bytes) = index(9 << 20, "one", &[]);
        let (other, _, _) = index(9 << 20, "two", &[]);
        bytes.extend_from_slice(&Claim { block: 1, crc: 2 }.to_bytes(other.seal()));
        assert_eq!(parse(&bytes).unwrap().claims, []);
    }
}
