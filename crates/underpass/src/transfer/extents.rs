//! Where a sparse source has data and where it has holes (lseek(2), `SEEK_DATA` and `SEEK_HOLE`).

use rustix::fd::BorrowedFd;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use crate::sys::Sys;

/// Remembers the data extent that the transfer is in.
#[derive(Debug, Default)]
pub(super) struct Extents {
    data_end: u64,
}

/// The kind of the bytes ahead, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    Data(u64),
    Hole(u64),
}

impl Extents {
    /// What comes at `at`, up to `end` at most. If the file system cannot say, all is data.
    pub(super) fn ahead<K: Sys>(
        &mut self,
        sys: &K,
        source: BorrowedFd<'_>,
        at: u64,
        end: u64,
    ) -> Ahead {
        if at >= self.data_end {
            match sys.seek(source, SeekFrom::Data(at)) {
                Ok(data) if data > at => return Ahead::Hole(data.min(end) - at),
                Ok(_) => self.data_end = sys.seek(source, SeekFrom::Hole(at)).unwrap_or(end),
                // "offset is beyond the end of the file, or within a hole at the end of it"; the
                // size tells which.
                Err(Errno::NXIO) => match sys.size(source) {
                    Ok(size) if size > at => return Ahead::Hole(size.min(end) - at),
                    // The file was truncated meanwhile (pitfall 2); a read finds its end.
                    _ => self.data_end = end,
                },
                Err(_) => self.data_end = end,
            }
        }
        // At least one byte of data: if the file has a hole there by now, treating it as data is
        // safe.
        Ahead::Data(self.data_end.min(end).max(at + 1) - at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Kernel;
    use rustix::fd::AsFd;
    use std::os::unix::fs::FileExt;

    #[test]
    fn data_between_holes_is_found() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(10 << 20).unwrap();
        file.write_all_at(&[1; 4096], 4 << 20).unwrap();
        let (sys, mut extents, end) = (Kernel::default(), Extents::default(), 10 << 20);
        let mut at = 0;
        let mut data = 0;
        while at < end {
            match extents.ahead(&sys, file.as_fd(), at, end) {
                Ahead::Hole(count) => at += count,
                Ahead::Data(count) => {
                    data += count;
                    at += count;
                }
            }
        }
        assert_eq!(at, end);
        assert!((4096..=65536).contains(&data), "{data} bytes of data");
    }
}
