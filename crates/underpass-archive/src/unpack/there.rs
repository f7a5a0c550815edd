//! What of an archive is there already, of an earlier transfer.

use std::fs::File;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{
    AtFlags, FileType, FlockOperation, Mode, OFlags, Stat, flock, fstat, openat, readlinkat, statat,
};
use rustix::io::{Errno, retry_on_intr};

use super::{Destination, components};
use crate::agreement::Offer;
use crate::walk::Metadata;

/// What there is of a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum There {
    /// Nothing that can be used.
    Nothing,
    /// Its first bytes, in this file, and how many. An earlier transfer broke off.
    Part(File, u64),
    /// A file with its name, size and time.
    Whole(File),
    /// Something else of its name, which is not to be replaced.
    Other,
    /// Another transfer is receiving it.
    Busy,
}

impl Destination {
    /// Looks for a file that could be sent. Makes nothing.
    ///
    /// The file of a [`There::Part`] is locked (flock(2)): close it before the file is
    /// [made](Self::make). Where there are no locks, there is no part.
    ///
    /// A file with the same size and time of change is taken for the same. Whoever wants to know
    /// compares hashes.
    pub fn there(&mut self, offer: &Offer) -> There {
        let there = self.look_for(offer);
        if matches!(there, There::Other | There::Busy) {
            self.not_made(&offer.path);
        }
        there
    }

    fn look_for(&mut self, offer: &Offer) -> There {
        let Ok(components) = components(&offer.path) else {
            return There::Nothing;
        };
        let Some((name, above)) = components.split_last() else {
            return There::Nothing;
        };
        let replace = self.replace;
        let Ok(directory) = self.open.existing(above) else {
            return There::Nothing;
        };
        match statat(directory, &name[..], AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if is_offered(&stat, offer) => {
                if let Some((file, stat)) = open(directory, name)
                    && is_offered(&stat, offer)
                {
                    return There::Whole(file);
                }
            }
            Ok(_) if !replace => return There::Other,
            _ => {}
        }
        let time = (offer.mtime, offer.mtime_nanoseconds);
        let part = part_name(name, offer.size, time);
        match open(directory, part.as_bytes()) {
            Some((file, stat)) if is_own(&stat) => {
                let length = Metadata::of(&stat).size;
                match lock(&file) {
                    Locked::Yes if (1..=offer.size).contains(&length) => There::Part(file, length),
                    Locked::ByAnother => There::Busy,
                    _ => There::Nothing,
                }
            }
            _ => There::Nothing,
        }
    }
}

/// Whether a part could be locked.
pub(super) enum Locked {
    Yes,
    ByAnother,
    /// The file system has no locks.
    Never,
}

/// Locks a part for as long as `file` is open.
pub(super) fn lock(file: &File) -> Locked {
    match retry_on_intr(|| flock(file, FlockOperation::NonBlockingLockExclusive)) {
        Ok(()) => Locked::Yes,
        Err(Errno::AGAIN) => Locked::ByAnother,
        Err(_) => Locked::Never,
    }
}

/// With what the names of parts begin and end.
pub(super) const PART: (&str, &str) = (".underpass-", ".part");

/// The name of what came of a file. It holds all that makes the file the same one: its name, size
/// and time. All names have about the same length, so that one fits where the file's own does.
///
/// It is also what other versions of this program go by. One that keeps other content under such a
/// name, such as not only the first bytes, has to give it another form.
pub(super) fn part_name(name: &[u8], size: u64, (seconds, nanoseconds): (i64, u32)) -> String {
    let ((begin, end), hash) = (PART, name_hash(name));
    format!("{begin}{hash:016x}-{size:x}-{seconds:x}.{nanoseconds:x}{end}")
}

/// FNV-1a, 64 bits.
pub(super) fn name_hash(name: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    name.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Whether a symbolic link leads to `target`.
pub(super) fn leads_to(directory: BorrowedFd<'_>, name: &[u8], target: &[u8]) -> bool {
    readlinkat(directory, name, Vec::new()).is_ok_and(|found| found.as_bytes() == target)
}

/// Whether a name leads to this file.
pub(super) fn is_same(directory: BorrowedFd<'_>, name: &[u8], file: &Stat) -> bool {
    statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|found| (found.st_dev, found.st_ino) == (file.st_dev, file.st_ino))
}

pub(super) fn open(directory: BorrowedFd<'_>, name: &[u8]) -> Option<(File, Stat)> {
    // The name may be a FIFO or a link by now.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = retry_on_intr(|| openat(directory, name, flags | OFlags::CLOEXEC, Mode::empty()));
    let file = opened.ok()?;
    let stat = fstat(file.as_fd()).ok()?;
    let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    is_file.then(|| (file.into(), stat))
}

fn is_offered(stat: &Stat, offer: &Offer) -> bool {
    let found = Metadata::of(stat);
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && found.size == offer.size
        && (found.mtime, found.mtime_nanoseconds) == (offer.mtime, offer.mtime_nanoseconds)
}

/// As [`AtomicFileOptions::kept`](underpass::atomic_file::AtomicFileOptions::kept) has it.
pub(super) fn is_own(stat: &Stat) -> bool {
    Metadata::of(stat).links == 1 && stat.st_uid == rustix::process::geteuid().as_raw()
}
