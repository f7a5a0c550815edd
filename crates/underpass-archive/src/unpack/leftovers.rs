//! What transfers that broke off have left.

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, statat, unlinkat};

use super::Destination;
use super::there::{self, Locked, PART, name_hash};
use crate::walk::Metadata;

/// What transfers that broke off have left in hidden files, and nothing has gone on with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leftovers {
    /// Files that were removed: what came of older versions of files that are there by now.
    pub removed: u64,
    /// Files that were left: of files that are not there, or of another form, as other versions of
    /// this program may make them.
    pub left: u64,
    /// The bytes in the files that were left.
    pub left_bytes: u64,
}

/// What the name of a part says.
struct Part {
    name: Vec<u8>,
    /// The hash of the file's name, its size and its time. `None` if it has another form.
    of: Option<(u64, u64, (i64, u32))>,
}

impl Destination {
    /// Looks for what transfers that broke off have left, in the root and in each directory that
    /// the archive has named; only that of one file in the root, if `only` names it. Call it when
    /// the archive has come to its end, with [`resume`](Self::resume).
    ///
    /// Removed is what came of a file that is there by now in a newer version, or whole. What
    /// another transfer is writing, or belongs to another user, is not looked at.
    pub fn leftovers(&mut self, only: Option<&[u8]>) -> Leftovers {
        let mut found = Leftovers::default();
        let mut paths = vec![Vec::new()];
        if only.is_none() {
            paths.extend(self.later.iter().map(|later| later.components.clone()));
            paths.sort_unstable();
            paths.dedup();
        }
        for path in paths {
            if let Ok(directory) = self.open.existing(&path) {
                look_through(directory, only.map(name_hash), &mut found);
            }
        }
        found
    }
}

fn look_through(directory: BorrowedFd<'_>, only: Option<u64>, found: &mut Leftovers) {
    let Ok(mut names) = Dir::read_from(directory) else {
        return;
    };
    let listed = names.by_ref().flatten();
    let parts = listed.filter_map(|entry| Part::of(entry.file_name().to_bytes()));
    let is_meant = |part: &Part| only.is_none_or(|only| part.of.is_some_and(|it| it.0 == only));
    let mut parts: Vec<_> = parts.filter(is_meant).collect();
    if parts.is_empty() {
        return;
    }
    names.rewind();
    for entry in names.flatten() {
        let (name, hash) = (entry.file_name(), name_hash(entry.file_name().to_bytes()));
        let is_of = |part: &Part| part.of.is_some_and(|of| of.0 == hash);
        if !parts.iter().any(is_of) {
            continue;
        }
        let Ok(stat) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let file = Metadata::of(&stat);
        let time = (file.mtime, file.mtime_nanoseconds);
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        parts.retain(|part| {
            let is_over = part.of.is_some_and(|(of, size, then)| {
                of == hash && (then < time || then == time && size == file.size)
            });
            let removed = is_file && is_over && remove(directory, &part.name);
            found.removed += u64::from(removed);
            !removed
        });
    }
    for part in parts {
        let opened = there::open(directory, &part.name).filter(|(_, stat)| there::is_own(stat));
        if let Some((file, stat)) = opened
            && !matches!(there::lock(&file), Locked::ByAnother)
        {
            found.left += 1;
            found.left_bytes += Metadata::of(&stat).size;
        }
    }
}

/// Removes a part that is ours, and that nobody is writing.
fn remove(directory: BorrowedFd<'_>, name: &[u8]) -> bool {
    let opened = there::open(directory, name).filter(|(_, stat)| there::is_own(stat));
    opened.is_some_and(|(file, _)| {
        matches!(there::lock(&file), Locked::Yes)
            && unlinkat(directory, name, AtFlags::empty()).is_ok()
    })
}

impl Part {
    /// `None` if the name is not that of a part.
    fn of(name: &[u8]) -> Option<Self> {
        let inner = name.strip_prefix(PART.0.as_bytes())?;
        let inner = inner.strip_suffix(PART.1.as_bytes())?;
        let of = std::str::from_utf8(inner).ok().and_then(read);
        Some(Self {
            name: name.to_vec(),
            of: of.filter(|(hash, size, time)| is_ours(inner, *hash, *size, *time)),
        })
    }
}

/// `HASH-SIZE-SECONDS.NANOSECONDS`, as [`there::part_name`] writes it.
fn read(text: &str) -> Option<(u64, u64, (i64, u32))> {
    let (hash, rest) = text.split_once('-')?;
    let (size, time) = rest.split_once('-')?;
    let (seconds, nanoseconds) = time.split_once('.')?;
    let number = |digits| u64::from_str_radix(digits, 16).ok();
    let nanoseconds = u32::from_str_radix(nanoseconds, 16).ok()?;
    // Times before 1970 are written as the 64 bits that they have.
    let seconds = number(seconds)? as i64;
    Some((number(hash)?, number(size)?, (seconds, nanoseconds)))
}

/// Whether it is written exactly as this version writes it.
fn is_ours(inner: &[u8], hash: u64, size: u64, (seconds, nanoseconds): (i64, u32)) -> bool {
    format!("{hash:016x}-{size:x}-{seconds:x}.{nanoseconds:x}").as_bytes() == inner
}
