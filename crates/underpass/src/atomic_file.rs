//! Files that appear under their name whole or not at all, and survive a power cut.
//!
//! The content is written to a temporary file beside the target, which gets the target's name by
//! rename(2) at the end. The order of the steps makes it durable. The content is synced before the
//! rename; otherwise a power cut could leave an empty file under the name. close(2) is checked
//! before the rename, since network file systems may report only there that the disk is full. The
//! directory is synced after the rename; otherwise the name could be lost.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::ErrorKind;
use std::ops::{Deref, DerefMut};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{FileType, Mode, StatxAttributes};
use rustix::io::Errno;

use crate::sys::files::{FileCalls, Found, KernelFiles};

use error::Cause;
pub use error::Error;
use target::Target;

mod attributes;
mod error;
#[cfg(test)]
pub(crate) mod faults;
mod naming;
mod target;
#[cfg(test)]
mod tests;

/// Options to create an [`AtomicFile`].
///
/// ```
/// use std::ffi::OsStr;
/// use std::fs::File;
/// use std::io::Write;
/// use underpass::atomic_file::AtomicFileOptions;
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path();
/// let directory = File::open(path)?;
/// let new = AtomicFileOptions::new().mode(0o644).create_in(&directory, OsStr::new("name"))?;
/// (&*new).write_all(b"content")?;
/// assert!(!path.join("name").exists());
/// let committed = new.commit()?;
/// println!("synced in {:?}", committed.sync_time());
/// assert_eq!(std::fs::read(path.join("name"))?, b"content");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct AtomicFileOptions {
    replace: bool,
    sync: bool,
    unnamed: bool,
    mode: u32,
    prefix: Option<OsString>,
    kept: Option<OsString>,
}

impl Default for AtomicFileOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl AtomicFileOptions {
    /// The defaults: mode 0666 without the umask's bits, no file is replaced, and the file is
    /// synced.
    pub const fn new() -> Self {
        Self {
            replace: false,
            sync: true,
            unnamed: false,
            mode: 0o666,
            prefix: None,
            kept: None,
        }
    }

    /// Replaces a file of that name, if there is one. The new file keeps its owner, permissions,
    /// ACL and extended attributes, but not its set-user-ID, set-group-ID and capabilities, which
    /// were granted to the old content.
    #[must_use]
    pub const fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// Whether the file and its directory are synced. Without that it is quicker, but a power cut
    /// soon after may leave an empty file under the name, or none.
    #[must_use]
    pub const fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// The permissions of a file that replaces none, before the umask is applied.
    #[must_use]
    pub const fn mode(mut self, mode: u32) -> Self {
        self.mode = mode;
        self
    }

    /// Gives the temporary file no name (`O_TMPFILE`) if possible, so that nothing is left of it
    /// even if the process is killed.
    #[must_use]
    pub const fn unnamed(mut self, unnamed: bool) -> Self {
        self.unnamed = unnamed;
        self
    }

    /// The prefix of the temporary name; a dot and the file's own name unless set. The name ends in
    /// `.part`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<OsString>) -> Self {
        self.prefix = Some(prefix.into());
        self
    }

    /// The temporary file is called `name`, and goes on with what a file of this name has already.
    /// It stays when the [`AtomicFile`] is dropped, so that a later one can go on with it;
    /// [`AtomicFile::discard`] removes it. Two at once are refused with `EAGAIN`. Where the file
    /// system has no locks (flock(2)), it is an ordinary temporary file
    /// ([`AtomicFile::is_kept`]).
    ///
    /// A file of this name that belongs to somebody else, has other links, or is no regular file is
    /// removed first.
    ///
    /// ```
    /// use std::io::{Read, Seek, SeekFrom, Write};
    /// use underpass::atomic_file::AtomicFileOptions;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let directory = std::fs::File::open(dir.path())?;
    /// let options = AtomicFileOptions::new().kept("movie.part");
    /// let new = options.create_in(&directory, "movie".as_ref())?;
    /// (&*new).write_all(b"first half, ")?;
    /// drop(new);
    /// let again = options.create_in(&directory, "movie".as_ref())?;
    /// (&*again).seek(SeekFrom::End(0))?;
    /// (&*again).write_all(b"second half")?;
    /// again.commit()?;
    /// let movie = std::fs::read(dir.path().join("movie"))?;
    /// assert_eq!(movie, b"first half, second half");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn kept(mut self, name: impl Into<OsString>) -> Self {
        self.kept = Some(name.into());
        self
    }

    /// Starts a file that will be called `name` in the open `directory` (`O_PATH` is enough).
    /// Whatever could keep it from getting the name is checked now, as far as it can be known.
    ///
    /// # Errors
    /// A file exists and is not to be replaced, or cannot be, or the new one cannot be given its
    /// owner or attributes; the directory cannot be written.
    pub fn create_in(&self, directory: impl AsFd, name: &OsStr) -> Result<AtomicFile, Error> {
        self.create_with(&KernelFiles, directory.as_fd(), name)
    }

    pub(crate) fn create_with(
        &self,
        sys: &'static dyn FileCalls,
        directory: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<AtomicFile, Error> {
        if matches!(name.as_bytes(), b"" | b"." | b"..") || name.as_bytes().contains(&b'/') {
            return Err(Cause::NoName.into());
        }
        let stat = Error::call("stat");
        let marks = sys
            .stat(directory, OsStr::new(""))
            .map_err(stat)?
            .attributes;
        let existing = look(sys, directory, name)?;
        match &existing {
            Some(_) if !self.replace => return Err(Cause::Exists.into()),
            Some(found) => attributes::check(found, marks)?,
            None => {}
        }
        let append_only = marks.contains(StatxAttributes::APPEND);
        let mut target = Target::open(sys, directory, name, (self, append_only))?;
        // Until the new file has the owner of the old one, nobody else may use it.
        let mode = if existing.is_some() { 0o600 } else { self.mode };
        let file = target.begin(self, Mode::from_raw_mode(mode))?;
        let mut new = AtomicFile {
            file: file.into(),
            target,
            like: None,
        };
        new.take_over(existing)?;
        Ok(new)
    }
}

/// What the name leads to now.
fn look(sys: &dyn FileCalls, dir: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Found>, Error> {
    match sys.stat(dir, name) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(Cause::Call("stat", errno).into()),
    }
}

/// A file that is being written and does not have its name yet; dropping it removes it.
///
/// It dereferences to the [`File`] to write to. [`commit`](Self::commit) does the rest. To do
/// something in between, take the steps one by one: [`seal`](Self::seal), [`Sealed::publish`],
/// [`Published::sync`].
///
/// ```
/// use std::io::Write;
/// use underpass::atomic_file::AtomicFileOptions;
///
/// # let dir = tempfile::tempdir()?;
/// # let directory = std::fs::File::open(dir.path())?;
/// # std::fs::write(dir.path().join("config"), b"old")?;
/// let new = AtomicFileOptions::new().replace(true).create_in(&directory, "config".as_ref())?;
/// (&*new).write_all(b"new")?;
/// let sealed = new.seal()?; // on the disk; "config" is the old one still
/// let published = sealed.publish()?; // "config" is the new one
/// published.sync()?; // and stays so
/// assert_eq!(std::fs::read(dir.path().join("config"))?, b"new");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    target: Target,
    /// The file to be replaced, whose attributes this one gets.
    like: Option<Found>,
}

impl AtomicFile {
    /// Seals, publishes and syncs.
    ///
    /// # Errors
    /// As those three. Unless [`Error::is_named`], nothing has changed under the name.
    pub fn commit(self) -> Result<Committed, Error> {
        self.seal()?.publish()?.sync()
    }

    /// Ends the writing: syncs the content, and checks with close(2) that all of it was stored.
    /// This may take long.
    ///
    /// # Errors
    ///
    /// Those of fsync(2) or close(2): the content may be incomplete, and the temporary file is
    /// removed. Also an error if the attributes of the file to be replaced have changed meanwhile
    /// and this file cannot get them.
    pub fn seal(mut self) -> Result<Sealed, Error> {
        let begun = Instant::now();
        let existing = self.target.existing()?;
        self.take_over(existing)?;
        let Self { file, target, like } = self;
        if target.sync {
            sync(target.sys, file.as_fd()).map_err(Error::call("fsync"))?;
        }
        let kept = if target.temporary.is_none() || target.sync && !target.readable {
            Some(
                file.try_clone()
                    .map_err(|error| Error::call("dup")(errno(&error)))?,
            )
        } else {
            None
        };
        // This works although a duplicate stays open: each close(2) makes the file system write
        // back what it holds, and report errors.
        let closed = target.sys.close(file.into());
        closed.map_err(Error::call("close"))?;
        Ok(Sealed {
            kept,
            replaced: existing.or(like),
            target,
            sync_time: begun.elapsed(),
        })
    }

    /// Whether it stays when it is dropped, as [`AtomicFileOptions::kept`] asks for.
    pub fn is_kept(&self) -> bool {
        self.target.kept
    }

    /// Removes it, also if its temporary name was to be [kept](AtomicFileOptions::kept).
    pub fn discard(mut self) {
        self.target.kept = false;
    }

    fn take_over(&mut self, existing: Option<Found>) -> Result<(), Error> {
        let replaced = existing.filter(|_| self.target.replace && existing != self.like);
        if let Some(found) = &replaced {
            let target = &self.target;
            let old = (target.directory.as_fd(), target.name.as_os_str());
            attributes::take_over(target.sys, old, found, self.file.as_fd())?;
            self.like = replaced;
        }
        Ok(())
    }
}

impl Deref for AtomicFile {
    type Target = File;

    fn deref(&self) -> &File {
        &self.file
    }
}

impl DerefMut for AtomicFile {
    fn deref_mut(&mut self) -> &mut File {
        &mut self.file
    }
}

impl AsFd for AtomicFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A file with all of its content on the disk, and without its name; dropping it removes it.
#[derive(Debug)]
pub struct Sealed {
    /// Kept if the file has no name yet, or if syncing needs it.
    kept: Option<File>,
    target: Target,
    replaced: Option<Found>,
    sync_time: Duration,
}

impl Sealed {
    /// Gives the file its name. Programs that have the old file open can still read all of it.
    ///
    /// # Errors
    ///
    /// The name is taken ([`Error::is_already_there`]), or what linkat(2) or rename(2) returned. In
    /// both cases nothing has changed.
    pub fn publish(mut self) -> Result<Published, Error> {
        let named = match &self.kept {
            Some(file) if self.target.temporary.is_none() => self.target.link(file.as_fd()),
            _ => self.target.rename(),
        };
        match named {
            Ok(()) => self.target.temporary = None,
            Err(Errno::EXIST) if self.target.replace && self.target.append_only => {
                return Err(Cause::AppendOnlyDirectory.into());
            }
            Err(Errno::EXIST) => return Err(Cause::Exists.into()),
            Err(errno) => return Err(Cause::Call("rename", errno).into()),
        }
        Ok(Published {
            kept: self.kept,
            target: self.target,
            other_names: self
                .replaced
                .map_or(0, |found| found.links.saturating_sub(1)),
            sync_time: self.sync_time,
        })
    }
}

/// A file that has its name, which a power cut could still take away.
#[derive(Debug)]
pub struct Published {
    kept: Option<File>,
    target: Target,
    other_names: u64,
    sync_time: Duration,
}

impl Published {
    /// Makes the name survive a power cut.
    ///
    /// # Errors
    ///
    /// What fsync(2) of the directory returned. The file is in its place ([`Error::is_named`]).
    pub fn sync(self) -> Result<Committed, Error> {
        let (target, begun) = (&self.target, Instant::now());
        if target.sync {
            let synced = match &self.kept {
                Some(file) if !target.readable => target.sys.sync_file_system(file.as_fd()),
                _ => sync(target.sys, target.directory.as_fd()),
            };
            synced.map_err(Cause::NotDurable)?;
        }
        Ok(Committed {
            sync_time: target.sync.then(|| self.sync_time + begun.elapsed()),
            other_names: self.other_names,
        })
    }
}

/// What committing a file took.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    sync_time: Option<Duration>,
    other_names: u64,
}

impl Committed {
    /// How long syncing and closing took; `None` if it was not synced.
    pub const fn sync_time(&self) -> Option<Duration> {
        self.sync_time
    }

    /// How many other names (hard links) the replaced file has. They still lead to the old content.
    pub const fn other_names(&self) -> u64 {
        self.other_names
    }
}

/// Closes a descriptor, and returns the error of close(2), which `drop` ignores. Network file
/// systems may report only there that the disk is full.
///
/// ```
/// use std::io::Write;
///
/// # let dir = tempfile::tempdir()?;
/// let mut file = std::fs::File::create(dir.path().join("log"))?;
/// file.write_all(b"line\n")?;
/// underpass::atomic_file::sync_content(&file)?;
/// underpass::atomic_file::close(file)?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// Those of close(2). What was written to the descriptor may be lost. It is closed in any case.
pub fn close(file: impl Into<OwnedFd>) -> std::io::Result<()> {
    Ok(KernelFiles.close(file.into())?)
}

/// Syncs the content of a regular file or block device, as `dd conv=fsync` does. Returns how long
/// that took; `None` for pipes, sockets, terminals, and file systems with nothing to sync.
///
/// ```
/// use underpass::atomic_file::sync_content;
///
/// let (_reader, writer) = std::io::pipe()?;
/// assert_eq!(sync_content(writer)?, None);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The errors of fstat(2) or fsync(2). What was written may be lost.
pub fn sync_content(file: impl AsFd) -> std::io::Result<Option<Duration>> {
    let mode = rustix::fs::fstat(&file)?.st_mode;
    let keeps = [FileType::RegularFile, FileType::BlockDevice];
    if !keeps.contains(&FileType::from_raw_mode(mode)) {
        return Ok(None);
    }
    let begun = Instant::now();
    sync(&KernelFiles, file.as_fd())?;
    Ok(Some(begun.elapsed()))
}

/// Makes the name of a new file survive a power cut, as [`AtomicFile::commit`] does: syncs its
/// `directory`, or the file system of the open `file` where the directory cannot be read.
///
/// ```
/// use underpass::atomic_file::{sync_content, sync_name};
///
/// let directory = tempfile::tempdir()?;
/// let file = std::fs::File::create(directory.path().join("name"))?;
/// sync_content(&file)?;
/// sync_name(&file, directory.path())?;
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// # Errors
/// The errors of open(2), fsync(2) or syncfs(2). The file is in its place.
pub fn sync_name(file: impl AsFd, directory: impl AsRef<Path>) -> std::io::Result<()> {
    match File::open(directory) {
        Ok(directory) => sync(&KernelFiles, directory.as_fd())?,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            KernelFiles.sync_file_system(file.as_fd())?;
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Calls fsync(2), if the file system supports it.
fn sync(sys: &dyn FileCalls, fd: BorrowedFd<'_>) -> Result<(), Errno> {
    match sys.sync(fd) {
        // Special files, and file systems that keep nothing: there is nothing to sync.
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        synced => synced,
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
