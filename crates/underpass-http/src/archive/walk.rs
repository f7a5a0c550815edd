//! Lists what is served below a directory, in a fixed order, from any place in it.
//!
//! The order is that of the names' bytes in each directory; a directory comes before what is in it.
//! The walk of `underpass-archive` follows other rules: it never follows a link, and it cannot
//! begin in the middle. Here the rules are those by which files are served.

use std::fs::File;
use std::io;
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::vec;

use rustix::fs::{Access, AtFlags, FileType, Stat, accessat, fstat, statat};
use rustix::io::Errno;

use super::entry::Entry;
use super::left_out::LeftOut;
use super::names::Names;
use super::tree::Tree;
use crate::file::is_missing;
use crate::sys::Version;

mod examine;

use examine::{AHEAD, WORTHWHILE, examine};

/// Everybody may read.
const READABLE: u32 = 0o444;

const DENIED: &str = "permission denied";
const UNREADABLE: &str = "it could not be read";
const TOO_LONG: &str = "its path is too long";
const CIRCLE: &str = "it leads back to a directory that it is in";

/// A walk through a directory. It keeps one descriptor.
pub(super) struct Walk {
    tree: Arc<Tree>,
    /// The path of the current entry, below the archived directory.
    path: Vec<u8>,
    levels: Vec<Level>,
    /// The innermost directory, if it is open.
    directory: Option<File>,
    /// The archived directory itself is still to be listed.
    is_at_start: bool,
}

/// A directory that is being listed.
struct Level {
    /// The length of its path.
    len: usize,
    /// Its device and inode.
    identity: (u64, u64),
    names: Names,
    /// What was found out ahead about the next names.
    examined: vec::IntoIter<rustix::io::Result<Stat>>,
}

pub(super) enum Found {
    Entry(Entry),
    LeftOut(LeftOut),
}

/// A place in a walk: behind this entry.
#[derive(Clone, Debug)]
pub(super) struct Position {
    pub(super) path: Vec<u8>,
    pub(super) is_directory: bool,
}

impl Walk {
    /// A walk from the beginning, or from behind an entry. May wait, like all its methods.
    ///
    /// # Errors
    /// Those of opening and reading the directories on the way.
    pub(super) fn from(tree: Arc<Tree>, after: Option<&Position>) -> io::Result<Self> {
        let mut walk = Self {
            tree,
            path: Vec::new(),
            levels: Vec::new(),
            directory: None,
            is_at_start: after.is_none(),
        };
        let Some(after) = after else {
            walk.enter(b"")?;
            return Ok(walk);
        };
        let path = &after.path;
        let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
        let mut ends: Vec<_> = ends.map(|(at, _)| at).collect();
        ends.push(path.len());
        let mut start = 0;
        for end in ends {
            // In the directory that this component is in, the names after it are still to come.
            walk.enter(&path[start..end])?;
            walk.path.clear();
            walk.path.extend_from_slice(&path[..end]);
            start = (end + 1).min(path.len());
        }
        if after.is_directory && !path.is_empty() {
            walk.enter(b"")?;
        }
        Ok(walk)
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// `ResourceBusy` if a directory that is being listed was removed; a lack of descriptors or
    /// memory. What concerns a single entry is [left out](Found::LeftOut).
    pub(super) fn next(&mut self) -> io::Result<Option<Found>> {
        if std::mem::take(&mut self.is_at_start) {
            let stat = fstat(self.directory()?)?;
            return Ok(Some(self.entry(&stat)));
        }
        loop {
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            self.path.truncate(level.len);
            if level.examined.as_slice().is_empty() && level.names.remaining() >= WORTHWHILE {
                self.examine_ahead()?;
            }
            let Some(level) = self.levels.last_mut() else {
                return Ok(None);
            };
            let examined = level.examined.next();
            let Some(name) = level.names.next() else {
                self.after_last_name()?;
                continue;
            };
            if level.len > 0 {
                self.path.push(b'/');
            }
            let start = self.path.len();
            self.path.extend_from_slice(name);
            if let Some(found) = self.look(start, examined)? {
                return Ok(Some(found));
            }
        }
    }

    /// Reads further names of the innermost directory, or leaves it.
    fn after_last_name(&mut self) -> io::Result<()> {
        let hidden = self.tree.hidden;
        let last = self.levels.last().and_then(|it| it.names.last_of_cut());
        let Some(last) = last.map(<[u8]>::to_vec) else {
            self.levels.pop();
            self.directory = None;
            return Ok(());
        };
        let names = Names::read(self.directory()?.as_fd(), &last, hidden)?;
        if let Some(level) = self.levels.last_mut() {
            level.names = names;
        }
        Ok(())
    }

    /// The innermost directory.
    fn directory(&mut self) -> io::Result<&File> {
        let directory = if let Some(directory) = self.directory.take() {
            directory
        } else {
            let len = self.levels.last().map_or(0, |level| level.len);
            self.tree.open(&self.path[..len]).map_err(|error| {
                if is_missing(&error) {
                    io::ErrorKind::ResourceBusy.into()
                } else {
                    error
                }
            })?
        };
        Ok(self.directory.insert(directory))
    }

    /// Examines the next names of the innermost directory.
    fn examine_ahead(&mut self) -> io::Result<()> {
        self.directory()?;
        if let (Some(directory), Some(level)) = (&self.directory, self.levels.last_mut()) {
            level.examined = examine(directory, &level.names.upcoming(AHEAD)).into_iter();
        }
        Ok(())
    }

    /// Looks at the current path, whose last component begins at `name_start` and may have been
    /// examined ahead. `None` if it is not served, or not there any more.
    fn look(
        &mut self,
        name_start: usize,
        examined: Option<rustix::io::Result<Stat>>,
    ) -> io::Result<Option<Found>> {
        if self.tree.leaves_out(&self.path) {
            return Ok(None);
        }
        if self.tree.is_too_long(&self.path) {
            return Ok(Some(self.left_out(TOO_LONG)));
        }
        self.directory()?;
        let (Some(directory), name) = (&self.directory, &self.path[name_start..]) else {
            return Ok(None);
        };
        let listed = examined.unwrap_or_else(|| statat(directory, name, AtFlags::SYMLINK_NOFOLLOW));
        let is_link = listed.is_ok_and(|it| is(&it, FileType::Symlink));
        let examined = if is_link && self.tree.follows_links() {
            self.tree.resolve(&self.path).and_then(|it| Ok(fstat(it)?))
        } else {
            listed.map_err(io::Error::from)
        };
        let stat = match examined {
            Ok(stat) => stat,
            Err(error) => return self.not_listed(error),
        };
        if is(&stat, FileType::Directory) {
            return match self.enter(b"") {
                Ok(true) => Ok(Some(self.entry(&stat))),
                Ok(false) => Ok(Some(self.left_out(CIRCLE))),
                Err(error) => self.not_listed(error),
            };
        }
        // Devices, FIFOs, sockets, and links that are not followed are not served.
        if !is(&stat, FileType::RegularFile) {
            return Ok(None);
        }
        let is_readable = stat.st_mode & READABLE == READABLE
            || accessat(directory, name, Access::READ_OK, AtFlags::EACCESS) != Err(Errno::ACCESS);
        Ok(Some(if is_readable {
            self.entry(&stat)
        } else {
            self.left_out(DENIED)
        }))
    }

    /// Begins to list the directory at the current path, from behind the name `after`. False if
    /// that would go in a circle.
    fn enter(&mut self, after: &[u8]) -> io::Result<bool> {
        let directory = self.tree.open(&self.path)?;
        let stat = fstat(&directory)?;
        let identity = (stat.st_dev, stat.st_ino);
        if self.levels.iter().any(|level| level.identity == identity) {
            return Ok(false);
        }
        let names = Names::read(directory.as_fd(), after, self.tree.hidden)?;
        self.levels.push(Level {
            len: self.path.len(),
            identity,
            names,
            examined: Vec::new().into_iter(),
        });
        self.directory = Some(directory);
        Ok(true)
    }

    fn entry(&self, stat: &Stat) -> Found {
        Found::Entry(Entry {
            path: self.path.clone(),
            is_directory: is(stat, FileType::Directory),
            mode: stat.st_mode & 0o777,
            version: Version::of(stat),
        })
    }

    fn left_out(&self, reason: &'static str) -> Found {
        Found::LeftOut(LeftOut {
            path: self.path.clone(),
            reason,
        })
    }

    /// An entry could not be examined.
    fn not_listed(&self, error: io::Error) -> io::Result<Option<Found>> {
        match Errno::from_io_error(&error) {
            // This is not about the entry: leaving it out would make the archive wrong.
            Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM) => Err(error),
            Some(Errno::ACCESS | Errno::PERM) => Ok(Some(self.left_out(DENIED))),
            // It was removed just now, or is a link that leads nowhere, outside or in circles.
            _ if is_missing(&error) => Ok(None),
            _ => Ok(Some(self.left_out(UNREADABLE))),
        }
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

#[cfg(test)]
mod tests;
