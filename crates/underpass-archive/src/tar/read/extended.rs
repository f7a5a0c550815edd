//! What pax records, and GNU tar's long names, say about an entry.

use super::ReadError;

/// What overrides the plain header.
#[derive(Clone, Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse_name: Option<Vec<u8>>,
    /// `GNU.sparse.major` is 1: the map comes before the data.
    pub(super) map_in_content: bool,
    pub(super) real_size: Option<u64>,
    /// Pairs of offset and length, of versions 0.0 and 0.1.
    pub(super) map: Vec<(u64, u64)>,
    /// The offset whose length comes next, of version 0.0.
    offset: Option<u64>,
}

const BAD_RECORD: ReadError = ReadError::Malformed("a pax record with a wrong length");
const BAD_NUMBER: ReadError = ReadError::Malformed("a number in a pax record is none");

impl Extended {
    /// Reads records: `LENGTH KEY=VALUE\n`.
    pub(super) fn records(&mut self, mut bytes: &[u8]) -> Result<(), ReadError> {
        while !bytes.is_empty() {
            // Some programs fill the rest with zeros.
            if bytes.iter().all(|byte| *byte == 0) {
                return Ok(());
            }
            let blank = bytes
                .iter()
                .position(|byte| *byte == b' ')
                .ok_or(BAD_RECORD)?;
            let length = number(&bytes[..blank]).map_err(|_| BAD_RECORD)?;
            let length = usize::try_from(length).map_err(|_| BAD_RECORD)?;
            let record = bytes.get(blank + 1..length).ok_or(BAD_RECORD)?;
            let record = record.strip_suffix(b"\n").ok_or(BAD_RECORD)?;
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or(BAD_RECORD)?;
            self.record(&record[..equals], &record[equals + 1..])?;
            bytes = &bytes[length..];
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), ReadError> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            self.xattrs.push((name.to_vec(), value.to_vec()));
            return Ok(());
        }
        // An empty value takes back what a global record said.
        let text = (!value.is_empty()).then(|| value.to_vec());
        let counted = || (!value.is_empty()).then(|| number(value)).transpose();
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link = text,
            b"size" => self.size = counted()?,
            b"uid" => self.uid = counted()?,
            b"gid" => self.gid = counted()?,
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(time(value)?),
            b"GNU.sparse.name" => self.sparse_name = text,
            b"GNU.sparse.major" => self.map_in_content = value == b"1",
            b"GNU.sparse.realsize" | b"GNU.sparse.size" => self.real_size = counted()?,
            b"GNU.sparse.offset" => self.offset = counted()?,
            b"GNU.sparse.numbytes" => {
                let offset = self.offset.take().ok_or(BAD_NUMBER)?;
                self.map.push((offset, number(value)?));
            }
            b"GNU.sparse.map" => self.map = pairs(value)?,
            _ => {}
        }
        Ok(())
    }
}

/// A decimal number.
pub(super) fn number(digits: &[u8]) -> Result<u64, ReadError> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BAD_NUMBER);
    }
    let text = std::str::from_utf8(digits).map_err(|_| BAD_NUMBER)?;
    text.parse().map_err(|_| BAD_NUMBER)
}

/// `OFFSET,LENGTH,OFFSET,LENGTH`
fn pairs(value: &[u8]) -> Result<Vec<(u64, u64)>, ReadError> {
    if value.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Result<Vec<_>, _> = value.split(|byte| *byte == b',').map(number).collect();
    let numbers = numbers?;
    if numbers.len() % 2 > 0 {
        return Err(BAD_NUMBER);
    }
    Ok(numbers
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect())
}

/// Seconds, with or without a fraction.
fn time(value: &[u8]) -> Result<(i64, u32), ReadError> {
    let (sign, digits) = match value.strip_prefix(b"-") {
        Some(digits) => (-1, digits),
        None => (1, value),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(point) => (&digits[..point], &digits[point + 1..]),
        None => (digits, &b""[..]),
    };
    if !fraction.iter().all(u8::is_ascii_digit) {
        return Err(BAD_NUMBER);
    }
    let whole = i64::try_from(number(whole)?).map_err(|_| BAD_NUMBER)?;
    let digit = |at: usize| u32::from(fraction.get(at).map_or(0, |byte| byte - b'0'));
    let nanoseconds = (0..9).fold(0, |sum, at| sum * 10 + digit(at));
    Ok(match (sign, nanoseconds) {
        (-1, 0) => (-whole, 0),
        // Nanoseconds count upwards from the second before.
        (-1, part) => (-whole - 1, 1_000_000_000 - part),
        _ => (whole, nanoseconds),
    })
}
