//! What is below a directory, in a fixed order.
//!
//! The order is that of the names' bytes within each directory; a directory comes before what is in
//! it. So the same tree always gives the same list.
//!
//! No symbolic link is followed: every name is looked up in the open directory that listed it. A
//! tree that changes meanwhile cannot lead the walk to another place.
//!
//! # Memory and descriptors
//! A walk keeps one descriptor, and the names of one directory, for each level that it is down in
//! the tree. It also remembers each file that has several hard links until it has seen all of them.

use std::collections::HashMap;
use std::collections::hash_map;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::retry_on_intr;

use entry::Place;
pub use entry::{Entry, EntryKind, Metadata};
use names::Names;
pub use problem::Problem;

mod entry;
mod names;
mod problem;

/// Lists what is below a directory; the directory itself comes first. See the [module](self).
///
/// What cannot be listed is a [`Problem`], and the walk goes on.
pub struct Walk {
    /// Not listed yet: the root.
    root: Option<Root>,
    levels: Vec<Level>,
    /// The path of the innermost directory, with a slash at its end. Empty, or "./" for a root
    /// without a name.
    path: Vec<u8>,
    links: HashMap<(u64, u64), Link>,
    filter: Option<Filter>,
    /// Comes next: why the content of the directory that came last cannot be listed.
    problem: Option<Problem>,
}

type Filter = Box<dyn FnMut(&[u8]) -> bool + Send>;

/// The start of a walk.
struct Root {
    fd: Arc<OwnedFd>,
    stat: Stat,
}

/// A directory that is being listed.
struct Level {
    directory: Arc<OwnedFd>,
    names: Names,
    /// The length of the path of the directory around it.
    outer: usize,
}

/// A file with several names.
struct Link {
    first: Vec<u8>,
    /// How many of its names were not seen yet.
    unseen: u64,
}

impl Walk {
    /// A walk from `path`, which may be a symbolic link. The paths of its entries begin with
    /// `name`; with an empty name the root is called `./`.
    ///
    /// If `path` is a file, it is the only entry.
    ///
    /// ```
    /// use underpass_archive::walk::Walk;
    ///
    /// let file = tempfile::NamedTempFile::new()?;
    /// let entry = Walk::new(file.path(), "notes.txt")?.next().unwrap()?;
    /// assert_eq!(entry.path(), b"notes.txt");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of open(2) and fstat(2) on `path`.
    pub fn new(path: impl AsRef<Path>, name: impl AsRef<[u8]>) -> io::Result<Self> {
        // A FIFO without a writer must not block.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = || openat(CWD, path.as_ref(), flags, Mode::empty());
        Self::from_descriptor(retry_on_intr(open)?, name)
    }

    /// A walk from an open directory or file, which must be open for reading.
    ///
    /// # Errors
    /// Those of fstat(2).
    pub fn from_descriptor(root: OwnedFd, name: impl AsRef<[u8]>) -> io::Result<Self> {
        let stat = fstat(&root)?;
        Ok(Self {
            root: Some(Root {
                fd: Arc::new(root),
                stat,
            }),
            levels: Vec::new(),
            path: name.as_ref().to_vec(),
            links: HashMap::new(),
            filter: None,
            problem: None,
        })
    }

    /// Leaves out each name for which `keep` is false, and what is below it. It gets the name
    /// without its directories. The root is always kept.
    #[must_use]
    pub fn filter(mut self, keep: impl FnMut(&[u8]) -> bool + Send + 'static) -> Self {
        self.filter = Some(Box::new(keep));
        self
    }

    fn start(&mut self, root: Root) -> Result<Entry, Problem> {
        let mut path = std::mem::take(&mut self.path);
        let (fd, stat) = (root.fd, root.stat);
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                if path.is_empty() {
                    path.push(b'.');
                }
                path.push(b'/');
                self.path.clone_from(&path);
                match Names::read(&*fd) {
                    Ok(names) => self.enter(Arc::clone(&fd), names, 0),
                    Err(error) => self.problem = Some(Problem::unreadable(&path, error)),
                }
                EntryKind::Directory
            }
            FileType::RegularFile => EntryKind::File,
            other => return Err(Problem::skipped(&path, other)),
        };
        Ok(Entry::new(path, kind, &stat, Place::Root(fd)))
    }

    fn enter(&mut self, directory: Arc<OwnedFd>, names: Names, outer: usize) {
        self.levels.push(Level {
            directory,
            names,
            outer,
        });
    }

    /// Looks at one name of the innermost directory.
    fn look(&mut self, directory: &Arc<OwnedFd>, name: &[u8]) -> Result<Entry, Problem> {
        let mut path = [&self.path, name].concat();
        let unreadable = |path: &[u8], error| Problem::unreadable(path, error);
        let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| unreadable(&path, error.into()))?;
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                path.push(b'/');
                let entered = self.descend(directory, name);
                self.problem = entered.err().map(|error| unreadable(&path, error));
                EntryKind::Directory
            }
            FileType::RegularFile => self.first_name(&path, &stat),
            FileType::Symlink => {
                let target = readlinkat(directory, name, Vec::new())
                    .map_err(|error| unreadable(&path, error.into()))?;
                EntryKind::Symlink {
                    target: target.into_bytes(),
                }
            }
            other => return Err(Problem::skipped(&path, other)),
        };
        Ok(Entry::new(
            path,
            kind,
            &stat,
            Place::In(Arc::clone(directory)),
        ))
    }

    fn descend(&mut self, directory: &Arc<OwnedFd>, name: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let open = || openat(directory, name, flags, Mode::empty());
        let inner = retry_on_intr(open)?;
        let names = Names::read(&inner)?;
        let outer = self.path.len();
        self.path.extend_from_slice(name);
        self.path.push(b'/');
        self.enter(Arc::new(inner), names, outer);
        Ok(())
    }

    /// Whether a file is new, or another name of one that was listed before.
    fn first_name(&mut self, path: &[u8], stat: &Stat) -> EntryKind {
        let links = Metadata::of(stat).links;
        if links < 2 {
            return EntryKind::File;
        }
        match self.links.entry((stat.st_dev, stat.st_ino)) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Link {
                    first: path.to_vec(),
                    unseen: links - 1,
                });
                EntryKind::File
            }
            hash_map::Entry::Occupied(mut known) => {
                let link = known.get_mut();
                link.unseen -= 1;
                let first = if link.unseen == 0 {
                    known.remove().first
                } else {
                    link.first.clone()
                };
                EntryKind::HardLink { first }
            }
        }
    }

    fn is_wanted(&mut self, name: &[u8]) -> bool {
        self.filter.as_mut().is_none_or(|keep| keep(name))
    }
}

impl Iterator for Walk {
    type Item = Result<Entry, Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(root) = self.root.take() {
            return Some(self.start(root));
        }
        if let Some(problem) = self.problem.take() {
            return Some(Err(problem));
        }
        loop {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.path.truncate(level.outer);
                self.levels.pop();
                continue;
            };
            let directory = Arc::clone(&level.directory);
            if self.is_wanted(&name) {
                return Some(self.look(&directory, &name));
            }
        }
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Walk")
            .field("path", &String::from_utf8_lossy(&self.path))
            .field("depth", &self.levels.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
