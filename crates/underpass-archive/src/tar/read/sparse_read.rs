//! The map of a file with holes: of GNU tar's own format, and of pax versions 0.0, 0.1 and 1.0.

use std::io::Read;
use std::ops::Range;

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::extended::{Extended, number};
use super::{BLOCK_BYTES, ReadError, SparseMap};

/// The most ranges that are accepted. GNU tar writes one for each piece of data.
const MOST: usize = 1 << 20;

const BAD_MAP: ReadError = ReadError::Malformed("a map of holes that cannot be right");

/// Reads the map, if the file has holes. What of it lies in the content is subtracted from
/// `stored`.
pub(super) fn map(
    header: &Header,
    extended: &Extended,
    stored: &mut u64,
    input: &mut impl Read,
) -> Result<Option<SparseMap>, ReadError> {
    let (pairs, size) = if header.entry_type() == EntryType::GNUSparse {
        old_gnu(header, input)?
    } else if extended.map_in_content {
        let size = extended.real_size.ok_or(BAD_MAP)?;
        (in_content(stored, input)?, size)
    } else if let (Some(size), false) = (extended.real_size, extended.map.is_empty()) {
        (extended.map.clone(), size)
    } else {
        return Ok(None);
    };
    check(pairs, size, *stored).map(Some)
}

/// In the header itself, and in blocks behind it.
fn old_gnu(header: &Header, input: &mut impl Read) -> Result<(Vec<(u64, u64)>, u64), ReadError> {
    let gnu = header.as_gnu().ok_or(BAD_MAP)?;
    let size = gnu.real_size().map_err(|_| BAD_MAP)?;
    let mut pairs = Vec::new();
    let mut add = |entries: &[tar::GnuSparseHeader]| {
        for entry in entries.iter().filter(|entry| !entry.is_empty()) {
            let offset = entry.offset().map_err(|_| BAD_MAP)?;
            pairs.push((offset, entry.length().map_err(|_| BAD_MAP)?));
        }
        if pairs.len() > MOST {
            Err(BAD_MAP)
        } else {
            Ok(())
        }
    };
    add(&gnu.sparse)?;
    let mut more = gnu.is_extended();
    while more {
        let mut block = GnuExtSparseHeader::new();
        input.read_exact(block.as_mut_bytes())?;
        add(&block.sparse)?;
        more = block.is_extended();
    }
    Ok((pairs, size))
}

/// Numbers in lines, filled up to a block (version 1.0).
fn in_content(stored: &mut u64, input: &mut impl Read) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut lines = Lines {
        block: [0; BLOCK_BYTES],
        at: BLOCK_BYTES,
        stored,
        input,
    };
    let count = usize::try_from(lines.number()?).map_err(|_| BAD_MAP)?;
    if count > MOST {
        return Err(BAD_MAP);
    }
    // Not allocated beforehand: the count may be a lie.
    let mut pairs = Vec::new();
    for _ in 0..count {
        pairs.push((lines.number()?, lines.number()?));
    }
    Ok(pairs)
}

struct Lines<'a, R> {
    block: [u8; BLOCK_BYTES],
    at: usize,
    stored: &'a mut u64,
    input: &'a mut R,
}

impl<R: Read> Lines<'_, R> {
    fn number(&mut self) -> Result<u64, ReadError> {
        let mut digits = Vec::new();
        loop {
            match self.byte()? {
                b'\n' => return number(&digits).map_err(|_| BAD_MAP),
                _ if digits.len() > 20 => return Err(BAD_MAP),
                digit => digits.push(digit),
            }
        }
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        if self.at == BLOCK_BYTES {
            let left = self.stored.checked_sub(BLOCK_BYTES as u64);
            *self.stored = left.ok_or(BAD_MAP)?;
            self.input.read_exact(&mut self.block)?;
            self.at = 0;
        }
        self.at += 1;
        Ok(self.block[self.at - 1])
    }
}

/// A map is right if its ranges come in order, stay within the file, and hold exactly what is
/// stored.
fn check(pairs: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<SparseMap, ReadError> {
    let mut data: Vec<Range<u64>> = Vec::new();
    let (mut end, mut sum) = (0, 0_u64);
    for (offset, length) in pairs {
        let next = offset.checked_add(length).ok_or(BAD_MAP)?;
        if offset < end || next > size {
            return Err(BAD_MAP);
        }
        end = next;
        sum += length;
        if length > 0 {
            data.push(offset..next);
        }
    }
    if sum != stored || size > i64::MAX as u64 {
        return Err(BAD_MAP);
    }
    Ok(SparseMap::read(data, size))
}
