//! The BLAKE3 hash of a file's content, computed while it is in the page cache.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::slice;

use underpass::receipt::ChecksumPass;
use underpass::{Usage, read_in_place};
use underpass_archive::tar::SparseMap;

/// How much is hashed before it is sent, or after it has come: it stays in the page cache, whatever
/// the size of the file.
pub(super) const WINDOW: u64 = 4 << 20;

/// How much is hashed before the peer is told that it has to wait.
pub(super) const LONG: u64 = 64 << 20;

/// The hash of the first bytes of a file. Holes are hashed as the zeros that they are, so that it
/// is what `b3sum` prints, and are not read.
#[derive(Clone)]
pub(super) struct Checksum {
    hasher: blake3::Hasher,
    /// How many bytes it is of.
    at: u64,
    /// What they have cost.
    pass: ChecksumPass,
}

impl Checksum {
    pub(super) fn new() -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            at: 0,
            pass: ChecksumPass::default(),
        }
    }

    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Goes on to the end of `range`. What lies before it is a hole. Zeros stand for what the file
    /// lacks.
    pub(super) fn data(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        let before = Usage::of_thread();
        self.add_zeros(range.start);
        let read = read_in_place(file, range.clone(), |bytes| {
            self.hasher.update(bytes);
        });
        if let Ok(read) = &read {
            self.at = range.start + read.bytes;
            self.pass.bytes += read.bytes;
            self.pass.copied += read.copied;
            self.add_zeros(range.end);
        }
        self.took(&before);
        read.map(|_| ())
    }

    /// Goes on to byte `to` of a file, whose holes are known if it has any.
    pub(super) fn advance(
        &mut self,
        file: &File,
        map: Option<&SparseMap>,
        to: u64,
    ) -> io::Result<()> {
        let whole = 0..to;
        for range in map.map_or(slice::from_ref(&whole), SparseMap::data) {
            let part = range.start.max(self.at)..range.end.min(to);
            if !part.is_empty() {
                self.data(file, part)?;
            }
        }
        self.zeros(to);
        Ok(())
    }

    /// Goes on to byte `to`: before it there is a hole.
    pub(super) fn zeros(&mut self, to: u64) {
        if self.at < to {
            let before = Usage::of_thread();
            self.add_zeros(to);
            self.took(&before);
        }
    }

    fn add_zeros(&mut self, to: u64) {
        const ZEROS: &[u8] = &[0; 64 << 10];
        while self.at < to {
            let part = (to - self.at).min(ZEROS.len() as u64);
            self.hasher.update(&ZEROS[..part as usize]);
            self.at += part;
            self.pass.bytes += part;
        }
    }

    fn took(&mut self, before: &Usage) {
        let used = Usage::of_thread().since(before);
        self.pass.cpu += used.user + used.system;
    }

    pub(super) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }

    /// What it has cost since this was asked last.
    pub(super) fn take_pass(&mut self) -> ChecksumPass {
        std::mem::take(&mut self.pass)
    }
}
