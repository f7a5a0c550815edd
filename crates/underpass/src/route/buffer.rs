//! A buffer in user space, between read(2) from the source and write(2) to the sink.

/// 128 KiB. A larger buffer does not make a loop of read(2) and write(2) faster; coreutils found
/// the same (the table is in its `ioblksize.h`).
pub(crate) const SIZE: usize = 128 * 1024;

/// A buffer that is filled, may be edited, and is then emptied from the front.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    bytes: Vec<u8>,
    given: usize,
}

impl Buffer {
    pub(crate) fn is_empty(&self) -> bool {
        self.given == self.bytes.len()
    }

    /// Bytes still to be written.
    pub(crate) fn held(&self) -> &[u8] {
        &self.bytes[self.given..]
    }

    /// Records that the first `count` bytes were written.
    pub(crate) fn consume(&mut self, count: usize) {
        self.given += count;
    }

    /// Fills the empty buffer with up to `len` bytes by `read`, which returns how many it wrote
    /// into the slice.
    pub(crate) fn fill<E>(
        &mut self,
        len: usize,
        read: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<usize, E> {
        self.given = 0;
        self.bytes.resize(len.min(SIZE), 0);
        let count = read(&mut self.bytes);
        self.bytes.truncate(*count.as_ref().unwrap_or(&0));
        count
    }

    /// Lets `edit` change the bytes that were just read.
    pub(crate) fn edit(&mut self, edit: impl FnOnce(&mut Vec<u8>)) {
        edit(&mut self.bytes);
    }
}
