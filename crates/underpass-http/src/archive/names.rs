//! The names in a directory, sorted, a limited number at a time.

use std::io;

use rustix::fd::BorrowedFd;
use rustix::fs::{Dir, Mode, OFlags, openat};

use crate::listing;

/// The most memory that the names of one directory take, in bytes. If they take more, the directory
/// is read again for the rest: 1,000,000 names of 15 bytes take three readings.
const MOST_BYTES: usize = 12 << 20;

/// The first names of a directory after a given one, in the order of their bytes.
pub(super) struct Names {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    next: usize,
    /// There may be more names after these.
    is_cut: bool,
}

#[derive(Clone, Copy)]
struct Span {
    start: u32,
    len: u16,
}

impl Names {
    /// Reads the names after `after`; all if it is empty. May wait.
    ///
    /// # Errors
    /// Those of openat(2) and getdents(2).
    pub(super) fn read(directory: BorrowedFd<'_>, after: &[u8], hidden: bool) -> io::Result<Self> {
        Self::read_up_to(MOST_BYTES, directory, after, hidden)
    }

    fn read_up_to(
        most: usize,
        directory: BorrowedFd<'_>,
        after: &[u8],
        hidden: bool,
    ) -> io::Result<Self> {
        // Another description of the directory, so that its position is its own.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let listed = Dir::new(openat(directory, ".", flags, Mode::empty())?)?;
        let mut names = Self {
            bytes: Vec::new(),
            spans: Vec::new(),
            next: 0,
            is_cut: false,
        };
        // Once the list was cut, the largest name in it; larger ones come later.
        let mut largest: Option<Vec<u8>> = None;
        for found in listed {
            let found = found?;
            let name = found.file_name().to_bytes();
            let comes_later = largest.as_deref().is_some_and(|largest| name > largest);
            if name <= after || comes_later || !listing::is_shown(name, hidden) {
                continue;
            }
            names.push(name);
            if names.memory() > most {
                names.sort();
                names.keep_half();
                largest = names.spans.last().map(|last| names.at(*last).to_vec());
            }
        }
        names.sort();
        Ok(names)
    }

    /// The next name.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        let span = *self.spans.get(self.next)?;
        self.next += 1;
        Some(self.at(span))
    }

    /// How many names there are still.
    pub(super) fn remaining(&self) -> usize {
        self.spans.len() - self.next
    }

    /// The next names, which stay.
    pub(super) fn upcoming(&self, most: usize) -> Vec<&[u8]> {
        let upcoming = self.spans[self.next..].iter().take(most);
        upcoming.map(|span| self.at(*span)).collect()
    }

    /// If the directory has to be read again for the names after these: the last of these.
    pub(super) fn last_of_cut(&self) -> Option<&[u8]> {
        let last = self.spans.last().filter(|_| self.is_cut)?;
        Some(self.at(*last))
    }

    fn push(&mut self, name: &[u8]) {
        self.spans.push(Span {
            start: self.bytes.len() as u32,
            len: name.len() as u16,
        });
        self.bytes.extend_from_slice(name);
    }

    fn memory(&self) -> usize {
        self.bytes.len() + self.spans.len() * size_of::<Span>()
    }

    fn at(&self, span: Span) -> &[u8] {
        at(&self.bytes, span)
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.spans
            .sort_unstable_by(|one, other| at(bytes, *one).cmp(at(bytes, *other)));
    }

    /// Drops the larger half of the sorted names.
    fn keep_half(&mut self) {
        self.is_cut = true;
        self.spans.truncate(self.spans.len().div_ceil(2));
        let mut kept = Vec::with_capacity(self.bytes.len());
        for span in &mut self.spans {
            let name = at(&self.bytes, *span);
            span.start = kept.len() as u32;
            kept.extend_from_slice(name);
        }
        self.bytes = kept;
    }
}

fn at(bytes: &[u8], span: Span) -> &[u8] {
    let start = span.start as usize;
    &bytes[start..start + usize::from(span.len)]
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsFd as _;

    use super::*;

    /// All names, read with little memory, as a walk reads them.
    fn all(directory: &File, most: usize, hidden: bool) -> (Vec<Vec<u8>>, usize) {
        let (mut all, mut readings) = (Vec::new(), 0);
        let mut after = Vec::new();
        loop {
            readings += 1;
            let mut names = Names::read_up_to(most, directory.as_fd(), &after, hidden).unwrap();
            while let Some(name) = names.next() {
                all.push(name.to_vec());
            }
            match names.last_of_cut() {
                Some(last) => after = last.to_vec(),
                None => return (all, readings),
            }
        }
    }

    #[test]
    fn names_are_sorted_however_little_memory_there_is() {
        let directory = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        for number in 0..500_u32 {
            // Not in the order of their numbers, and of different lengths.
            let name = format!("{:x}", number.wrapping_mul(2_654_435_761));
            fs::write(directory.path().join(&name), "").unwrap();
            expected.push(name.into_bytes());
        }
        fs::write(directory.path().join(".hidden"), "").unwrap();
        expected.sort();
        let opened = File::open(directory.path()).unwrap();
        assert_eq!(all(&opened, usize::MAX, false), (expected.clone(), 1));
        for most in [100, 1000, 5000] {
            let (names, readings) = all(&opened, most, false);
            assert_eq!(names, expected);
            assert!(readings > 1, "{most}");
        }
        assert_eq!(all(&opened, 1000, true).0.len(), 501);
    }
}
