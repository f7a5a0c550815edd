//! Memory that was gathered and not sent yet, and where it came from.

use std::mem;

/// Gathered bytes are sent when there are this many: one call for some 40 headers of a tar archive.
pub(super) const FULL: usize = 64 << 10;

#[derive(Debug, Default)]
pub(super) struct Pending {
    bytes: Vec<u8>,
    /// How many bytes came from which group of the account, in order.
    runs: Vec<(usize, u64)>,
}

impl Pending {
    pub(super) fn push(&mut self, group: usize, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.came_from(group, bytes.len());
    }

    /// Appends what `read` reads into a buffer of `length` bytes.
    pub(super) fn read<E>(
        &mut self,
        group: usize,
        length: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        let before = self.bytes.len();
        self.bytes.resize(before + length, 0);
        let count = read(&mut self.bytes[before..]);
        self.bytes.truncate(before + *count.as_ref().unwrap_or(&0));
        self.came_from(group, self.bytes.len() - before);
        count
    }

    fn came_from(&mut self, group: usize, length: usize) {
        match self.runs.last_mut() {
            Some((last, count)) if *last == group => *count += length as u64,
            _ => self.runs.push((group, length as u64)),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn take(&mut self) -> (Vec<u8>, Vec<(usize, u64)>) {
        (mem::take(&mut self.bytes), mem::take(&mut self.runs))
    }
}
