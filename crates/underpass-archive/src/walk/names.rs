//! The names in one directory, sorted by their bytes.

use std::io;
use std::mem::MaybeUninit;

use rustix::fd::AsFd;
use rustix::fs::RawDir;

/// The buffer of one getdents64(2): what glibc's readdir(3) uses.
const BUFFER: usize = 32 << 10;

/// The names, each with a zero byte at its end, in one allocation: a million of them must not be a
/// million allocations.
#[derive(Debug)]
pub(super) struct Names {
    bytes: Vec<u8>,
    /// Where the names begin, those that come last first.
    starts: Vec<u32>,
}

impl Names {
    /// Reads a directory to its end.
    pub(super) fn read(directory: impl AsFd) -> io::Result<Self> {
        let mut buffer = vec![MaybeUninit::uninit(); BUFFER];
        let mut listed = RawDir::new(directory, &mut buffer);
        let (mut bytes, mut starts) = (Vec::new(), Vec::new());
        while let Some(entry) = listed.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes_with_nul();
            if name != b".\0" && name != b"..\0" {
                let start = u32::try_from(bytes.len());
                starts.push(start.map_err(|_| io::ErrorKind::OutOfMemory)?);
                bytes.extend_from_slice(name);
            }
        }
        starts.sort_unstable_by(|one, other| at(&bytes, *other).cmp(at(&bytes, *one)));
        Ok(Self { bytes, starts })
    }
}

impl Iterator for Names {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let start = self.starts.pop()?;
        Some(at(&self.bytes, start).to_vec())
    }
}

/// The name that begins at `start`.
fn at(bytes: &[u8], start: u32) -> &[u8] {
    let from = &bytes[start as usize..];
    let end = from.iter().position(|byte| *byte == 0);
    &from[..end.unwrap_or(from.len())]
}
