//! From an open directory to its entries.

use std::io;
use std::time::{Duration, SystemTime};

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::{Entry, Kind};
use crate::file::{Root, UPLOAD_PREFIX};

/// Which entries are shown, beside directories and files with plain names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Which<'a> {
    /// Those whose name starts with a dot.
    pub(crate) hidden: bool,
    /// Symlinks that stay beneath a root, as what they lead to.
    pub(crate) symlinks: Option<Beneath<'a>>,
}

/// The root that symlinks may not lead out of, and how to get from it to the directory that is
/// read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Beneath<'a> {
    pub(crate) root: &'a Root,
    /// Empty for the root itself, or `a/b`.
    pub(crate) path: &'a [u8],
}

/// The entries of an open directory, in no order. It blocks. `directory` may be open with `O_PATH`;
/// its cursor stays.
///
/// What cannot be asked about is left out: what has just gone, and mounts whose server is dead.
///
/// # Errors
/// What openat(2) and getdents(2) say of the directory; a lack of descriptors or memory; no
/// openat2(2).
pub(crate) fn read(directory: BorrowedFd<'_>, which: Which<'_>) -> io::Result<Vec<Entry>> {
    // Opening "." asks for the right to search too: later, EACCES is about one entry and not about
    // all.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let listed = Dir::new(rustix::fs::openat(directory, ".", flags, Mode::empty())?)?;
    let mut entries = Vec::new();
    for found in listed {
        let found = found?;
        let name = found.file_name().to_bytes();
        if is_shown(name, which.hidden)
            && let Some(entry) = entry(directory, name, which.symlinks)?
        {
            entries.push(entry);
        }
    }
    Ok(entries)
}

fn is_shown(name: &[u8], hidden: bool) -> bool {
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
        modified: modified(&stat),
    }))
}

/// What a symlink leads to. Nothing is opened, so a FIFO is not waited for.
fn target(beneath: Beneath<'_>, name: &[u8]) -> rustix::io::Result<Stat> {
    let path = match beneath.path {
        b"" => name.to_owned(),
        directory => [directory, b"/", name].concat(),
    };
    let found = beneath.root.open_path(&path);
    let found = found.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO));
    rustix::fs::fstat(found?)
}

/// Errors that are about one entry leave it out; those that would befall every entry end the
/// listing.
fn unless_gone(stat: rustix::io::Result<Stat>) -> rustix::io::Result<Option<Stat>> {
    match stat {
        Ok(stat) => Ok(Some(stat)),
        // Out of descriptors or memory: a shorter listing would be a wrong one.
        Err(errno @ (Errno::MFILE | Errno::NFILE | Errno::NOMEM)) => Err(errno),
        // openat2(2) is from Linux 5.6.
        Err(errno @ Errno::NOSYS) => Err(errno),
        // Removed since (ENOENT), leads outside (EXDEV) or in circles (ELOOP), not for us (EACCES),
        // on a dead mount (ENOTCONN, EIO): it could not be served either.
        Err(_) => Ok(None),
    }
}

/// File systems keep times before 1970 too; one that no `SystemTime` can hold counts as 1970.
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
