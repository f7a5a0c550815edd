//! Reads a file where it is, in the page cache.

use std::io;
use std::ops::Range;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::fstat;
use rustix::io::{Errno, pread, retry_on_intr};

use crate::sys::Window;

/// How much is mapped at a time. What is sent next is still in the processor's second-level cache,
/// and a call of mmap(2) for it costs less than 1 % of reading it.
const WINDOW: u64 = 1 << 20;

/// What [`read_in_place`] has read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InPlace {
    /// All bytes that `read` has got.
    pub bytes: u64,
    /// Those of them that were copied, because the file system has no mappings.
    pub copied: u64,
}

/// Calls `read` with the bytes of a range of a file, piece by piece and in order. The pieces are
/// the page cache itself, so nothing is copied: this is for work that must look at each byte, such
/// as a checksum. Holes are read as zeros; some file systems then allocate them.
///
/// Ends early at the end of the file.
///
/// ```
/// use std::io::Write;
/// use underpass::read_in_place;
///
/// let mut file = tempfile::tempfile()?;
/// file.write_all(b"1234567")?;
/// let mut sum = 0_u32;
/// let read = read_in_place(&file, 2..100, |bytes| {
///     sum += bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
/// })?;
/// assert_eq!((read.bytes, read.copied), (5, 0));
/// assert_eq!(sum, b"34567".iter().map(|byte| u32::from(*byte)).sum());
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Blocking
/// Waits for the disk where the file is not in the page cache.
///
/// # Errors
/// Those of fstat(2), mmap(2) and pread(2). `UnexpectedEof`: the file was truncated while it was
/// read.
pub fn read_in_place(
    file: impl AsFd,
    range: Range<u64>,
    mut read: impl FnMut(&[u8]),
) -> io::Result<InPlace> {
    let file = file.as_fd();
    let size = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
    let end = range.end.min(size);
    let mut done = InPlace::default();
    let mut at = range.start;
    while at < end {
        let length = WINDOW.min(end - at);
        match Window::map(file, at, length as usize) {
            Ok(window) => {
                let lost = window.read(at..at + length, |bytes, is_lost| {
                    read(bytes);
                    is_lost()
                });
                if lost {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            // ENODEV: the file system has no mappings. EACCES: not of this file.
            Err(Errno::NODEV | Errno::ACCESS | Errno::INVAL) => {
                copy(file, at..at + length, &mut read)?;
                done.copied += length;
            }
            Err(errno) => return Err(errno.into()),
        }
        done.bytes += length;
        at += length;
    }
    Ok(done)
}

fn copy(file: BorrowedFd<'_>, range: Range<u64>, read: &mut impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    let mut at = range.start;
    while at < range.end {
        let wanted = buffer.len().min((range.end - at) as usize);
        match retry_on_intr(|| pread(file, &mut buffer[..wanted], at))? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                read(&buffer[..count]);
                at += count as u64;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::unix::fs::FileExt;

    fn collected(file: &File, range: Range<u64>) -> (InPlace, Vec<u8>) {
        let mut all = Vec::new();
        let read = read_in_place(file, range, |bytes| all.extend_from_slice(bytes));
        (read.unwrap(), all)
    }

    #[test]
    fn a_range_is_read_in_order_and_ends_with_the_file() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 5) as u8).collect();
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&content, 0).unwrap();
        for range in [0..3_000_000, 0..1, 4095..4097, 1_000_001..2_900_000, 7..7] {
            let (read, all) = collected(&file, range.clone());
            assert!(all == content[range.start as usize..range.end as usize]);
            assert_eq!((read.bytes, read.copied), (all.len() as u64, 0));
        }
        assert_eq!(collected(&file, 2_999_999..5_000_000).0.bytes, 1);
        assert_eq!(collected(&file, 4_000_000..5_000_000).0.bytes, 0);
    }

    #[test]
    fn what_has_no_mapping_is_copied_and_counted() {
        let name = "/sys/kernel/mm/transparent_hugepage/enabled";
        let Ok(file) = File::open(name) else {
            return;
        };
        let wanted = std::fs::read(name).unwrap();
        let (read, all) = collected(&file, 0..wanted.len() as u64);
        assert_eq!(all, wanted);
        assert_eq!(read.copied, wanted.len() as u64);
    }

    #[test]
    fn pitfall_22_a_file_that_is_truncated_meanwhile_is_an_error() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&vec![7; 3 << 20], 0).unwrap();
        let mut sum = 0;
        let read = read_in_place(&file, 0..3 << 20, |bytes| {
            sum += bytes.iter().map(|byte| u64::from(*byte)).sum::<u64>();
            file.set_len(100).unwrap();
        });
        let kind = read.map(|_| ()).map_err(|error| error.kind());
        // The second window has no page any more.
        assert_eq!(kind, Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(sum, 7 << 20);
    }
}
