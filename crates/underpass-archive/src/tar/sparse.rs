//! Where a file with holes has data, in GNU tar's format 1.0.

use std::io;
use std::ops::Range;

use rustix::fd::AsFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::padding;

/// The ranges of a file that are not holes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SparseMap {
    data: Vec<Range<u64>>,
    size: u64,
}

/// More ranges than this are not worth a map: 65,536 of them take some megabytes of text.
const MOST: usize = 1 << 16;

impl SparseMap {
    /// Asks the file system where the first `size` bytes of a file have data. `None` if there is no
    /// hole, if there are more than 65,536 of them, or if the file system does not say.
    ///
    /// Moves the position of `file`.
    ///
    /// # Errors
    /// Those of lseek(2).
    pub fn of(file: impl AsFd, size: u64) -> io::Result<Option<Self>> {
        let file = file.as_fd();
        let mut data: Vec<Range<u64>> = Vec::new();
        let mut at = 0;
        while at < size {
            let start = match seek(file, SeekFrom::Data(at)) {
                Ok(start) => start.min(size),
                // No data from here to the end.
                Err(Errno::NXIO) => break,
                Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(None),
                Err(errno) => return Err(errno.into()),
            };
            if start == size {
                break;
            }
            let end = match seek(file, SeekFrom::Hole(start)) {
                Ok(end) if end > start => end.min(size),
                // The file became shorter meanwhile.
                Ok(_) | Err(Errno::NXIO) => size,
                Err(errno) => return Err(errno.into()),
            };
            data.push(start..end);
            if data.len() > MOST {
                return Ok(None);
            }
            at = end;
        }
        let full = data
            .iter()
            .map(|range| range.end - range.start)
            .sum::<u64>()
            == size;
        Ok((!full).then_some(Self { data, size }))
    }

    /// A map that was read and checked.
    pub(super) fn read(data: Vec<Range<u64>>, size: u64) -> Self {
        Self { data, size }
    }

    /// The rest of a file of `size` bytes from `start` on, as if there was a hole before it. `map`
    /// is that of the whole file, if it has holes.
    ///
    /// ```
    /// use underpass_archive::tar::SparseMap;
    ///
    /// let rest = SparseMap::rest(None, 100, 30);
    /// assert_eq!(rest.data(), [30..100]);
    /// assert_eq!((rest.size(), rest.data_len()), (100, 70));
    /// ```
    pub fn rest(map: Option<&Self>, size: u64, start: u64) -> Self {
        let whole = 0..size;
        let data = map.map_or(std::slice::from_ref(&whole), Self::data);
        let rest = data.iter().map(|range| range.start.max(start)..range.end);
        Self {
            data: rest.filter(|range| !range.is_empty()).collect(),
            size,
        }
    }

    /// The ranges with data, in order. They do not touch each other.
    pub fn data(&self) -> &[Range<u64>] {
        &self.data
    }

    /// The size of the file with its holes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// How many bytes of data there are.
    pub fn data_len(&self) -> u64 {
        self.data.iter().map(|range| range.end - range.start).sum()
    }

    /// The map as it comes before the data: numbers in lines, filled up to a block with zeros.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // A map that does not reach the end of the file says where the end is.
        let end = self.size..self.size;
        let reaches = self.data.last().is_some_and(|last| last.end == self.size);
        let tail = (!reaches).then_some(&end);
        let count = self.data.len() + usize::from(!reaches);
        let mut text = format!("{count}\n");
        for range in self.data.iter().chain(tail) {
            let length = range.end - range.start;
            text.extend([range.start, length].map(|number| format!("{number}\n")));
        }
        let mut bytes = text.into_bytes();
        bytes.resize(bytes.len() + padding(bytes.len() as u64) as usize, 0);
        bytes
    }
}
