//! Reads the entries of an open directory.

use std::io;
use std::time::{Duration, SystemTime};

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Entry, Kind};
use crate::file::{Root, UPLOAD_PREFIX};
use crate::path_rules::ActiveRules;
use crate::semantics::path;

/// Which entries are shown besides ordinary directories and regular files.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    /// Also entries whose name starts with a dot.
    pub(crate) hidden: bool,
    /// Without those that the rules deny at this path.
    pub(crate) rules: Option<(&'a ActiveRules, &'a [u8])>,
    /// Also symbolic links that stay below a root. They are shown as what they lead to.
    pub(crate) symlinks: Option<Beneath<'a>>,
}

/// The root that symbolic links must stay below, and the path from it to the directory that is
/// read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beneath<'a> {
    pub(crate) root: &'a Root,
    /// The path: empty for the root itself, or `a/b`.
    pub(crate) path: &'a [u8],
}

/// Reads the entries of an open directory, in no particular order. Blocks. `directory` may be open
/// with `O_PATH`; its position is not changed.
///
/// Entries that cannot be examined are left out: those that were just removed, and mounts whose
/// server is dead.
///
/// # Errors
///
/// What openat(2) and getdents(2) of the directory returned; a lack of descriptors or memory; a
/// kernel without openat2(2).
pub(crate) fn read(directory: BorrowedFd<'_>, which: Which<'_>) -> io::Result<Vec<Entry>> {
    // Opening "." needs search permission on the directory, so a later EACCES is about a single
    // entry.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = Dir::new(rustix::fs::openat(directory, ".", flags, Mode::empty())?)?;
    let mut entries = Vec::new();
    for found in listed {
        let found = found?;
        let name = found.file_name().to_bytes();
        if is_shown(name, which.hidden)
            && !which.is_denied(name)
            && let Some(entry) = entry(directory, name, which.symlinks)?
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

impl Which<'_> {
    fn is_denied(&self, name: &[u8]) -> bool {
        let denies =
            |(rules, directory): (&ActiveRules, _)| rules.denies(&path::join(directory, name));
        self.rules.is_some_and(denies)
    }
}

/// Whether a name is listed and served. `hidden` says whether names that begin with a dot are.
pub(crate) fn is_shown(name: &[u8], hidden: bool) -> bool {
    let itself_or_parent = matches!(name, b"." | b"..");
    let dotted = name.starts_with(b".");
    !itself_or_parent && (hidden || !dotted) && !name.starts_with(UPLOAD_PREFIX.as_bytes())
}

fn entry(
    directory: BorrowedFd<'_>,
    name: &[u8],
    symlinks: Option<Beneath<'_>>,
) -> io::Result<Option<Entry>> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
    let Some(mut stat) = unless_gone(stat)? else {
        return Ok(None);
    };
    if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink
        && let Some(beneath) = symlinks
    {
        let Some(target) = unless_gone(target(beneath, name))? else {
            return Ok(None);
        };
        stat = target;
    }
    let (kind, size) = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => (Kind::Directory, 0),
        FileType::RegularFile => (Kind::File, stat.st_size as u64),
        // Devices, FIFOs, sockets, and symlinks that are not followed.
        _ => return Ok(None),
    };
    Ok(Some(Entry {
        name: name.to_owned(),
        kind,
        size,
        modified: Some(modified(&stat)),
    }))
}

/// What a symbolic link leads to. Nothing is opened for reading, so a FIFO does not block.
fn target(beneath: Beneath<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    let found = beneath.root.open_path(&path::join(beneath.path, name));
    let found = found.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    rustix::fs::fstat(found?)
}

/// An error about one entry leaves that entry out. An error that affects all entries is returned.
fn unless_gone(stat: rustix::io::Result<Stat>) -> rustix::io::Result<Option<Stat>> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        // Out of descriptors or memory: leaving entries out would make the list wrong.
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno),
        // openat2(2) is from Linux 5.6.
        Err(errno @ Errno::NOSYS) => Err(errno),
        // It was removed meanwhile (ENOENT), leads outside (EXDEV) or in circles (ELOOP), may not
        // be read by this process (EACCES), or is on a dead mount (ENOTCONN, EIO). It could not be
        // served either.
        Err(_) => Ok(None),
    }
}

/// When the entry was last modified. File systems can have times before 1970 too. A time that no
/// `SystemTime` can hold counts as 1970.
fn modified(stat: &Stat) -> SystemTime {
    let seconds = Duration::from_secs(stat.st_mtime.unsigned_abs());
    let whole = if stat.st_mtime < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|time| time.checked_add(Duration::from_nanos(stat.st_mtime_nsec)))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
