//! Puts the entries of an archive below a directory, which nothing leaves.
//!
//! # What an archive may do
//! - Every path is walked from the open directory, component by component, and no symbolic link is
//!   followed: neither one that the archive made, nor one that was there. So an archive cannot lead
//!   out by a link, whatever it contains and whatever happens in the tree meanwhile.
//! - Absolute paths, paths with `..`, empty paths, and paths with a zero byte are refused.
//! - Devices, FIFOs and unknown types are refused.
//! - A hard link must lead to a regular file below the directory. If that file was in the archive
//!   and did not arrive, the link is refused too: what is there under its name is another file.
//! - Of the mode, the permissions of owner, group and others are taken, less the umask.
//!   Set-user-ID, set-group-ID and the sticky bit are left out.
//! - Of the extended attributes, only those of users (`user.*`) are taken, if
//!   [`Destination::xattrs`] is set. Others can grant capabilities.
//! - What is there already is kept, and that is an error, unless [`Destination::replace`] is set.
//!   Directories are merged in any case. A directory is never replaced by something else.
//!
//! With [`Destination::resume`], what came of a file stays when the transfer breaks off, in a
//! hidden file beside it (`.underpass-….part`), and a later transfer of the same file goes on with
//! it. The hidden file's name holds the file's name, size and time, so nothing else goes on with
//! it. [`Destination::leftovers`] removes what came of older versions, and counts what remains.
//!
//! A file appears under its name when it is whole. The modes and times of directories are set at
//! the end, since filling them changes the times.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{FileTimes, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fd::AsFd;
use rustix::fs::{CWD, Mode, OFlags, Timespec, Timestamps, XattrFlags, openat};
use rustix::io::{Errno, retry_on_intr};
use underpass::AtomicFile;
use underpass::atomic_file::AtomicFileOptions;

use crate::tar::{ReadKind, ReadMember, SparseMap};
use directories::Directories;
pub use leftovers::Leftovers;
pub use refusal::Refusal;
pub use there::There;

mod directories;
mod leftovers;
mod links;
mod refusal;
mod there;

/// A directory into which archives are unpacked. See the [module](self).
#[derive(Debug)]
pub struct Destination {
    open: Directories,
    replace: bool,
    resume: bool,
    single: bool,
    sync_each: bool,
    umask: u32,
    owners: bool,
    xattrs: bool,
    /// Modes and times that directories get at the end.
    later: Vec<Later>,
    /// Files of the archive that did not arrive, by their components with slashes between them.
    not_made: HashSet<Vec<u8>>,
}

#[derive(Debug)]
struct Later {
    components: Vec<Vec<u8>>,
    mode: u32,
    times: Timestamps,
    owner: Option<(u32, u32)>,
    xattrs: Attributes,
}

/// Extended attributes: pairs of name and value.
type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

/// A file that is being unpacked: write its content to [`file`](Self::file), then
/// [`finish`](Self::finish) it. Dropping it removes it, unless [`Destination::resume`] is set.
#[derive(Debug)]
pub struct NewFile {
    file: AtomicFile,
    mode: Option<u32>,
    modified: SystemTime,
    owner: Option<(u32, u32)>,
    xattrs: Attributes,
}

impl Destination {
    /// Opens the directory, which is made if it does not exist. Its name may be a symbolic link.
    ///
    /// # Errors
    /// Those of mkdir(2) and open(2).
    pub fn open(path: &Path) -> io::Result<Self> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = retry_on_intr(|| openat(CWD, path, flags, Mode::empty()))?;
        // umask(2) can only be read by setting it.
        let umask = rustix::process::umask(Mode::empty());
        rustix::process::umask(umask);
        Ok(Self {
            open: Directories::below(root),
            replace: false,
            resume: false,
            single: false,
            sync_each: false,
            umask: umask.as_raw_mode(),
            owners: false,
            xattrs: false,
            later: Vec::new(),
            not_made: HashSet::new(),
        })
    }

    /// Whether existing files and links are replaced.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// Whether what came of a file stays when no more comes, and links that are there as they
    /// should be are no error.
    #[must_use]
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Whether files are made as programs make them that write a single one: with the mode of new
    /// files, or all attributes of the file that they replace.
    #[must_use]
    pub fn single(mut self, single: bool) -> Self {
        self.single = single;
        self
    }

    /// Whether each file is synced before it gets its name. For many files
    /// [`finish`](Self::finish) costs less.
    #[must_use]
    pub fn sync_each(mut self, sync: bool) -> Self {
        self.sync_each = sync;
        self
    }

    /// Whether what is made gets the archive's owners and groups.
    #[must_use]
    pub fn owners(mut self, owners: bool) -> Self {
        self.owners = owners;
        self
    }

    /// Whether files and directories get the archive's extended attributes of users.
    #[must_use]
    pub fn xattrs(mut self, xattrs: bool) -> Self {
        self.xattrs = xattrs;
        self
    }

    /// Makes a directory or a link. For a file, returns where its content goes.
    ///
    /// # Errors
    /// It is refused, or a system call failed. Nothing has been made then, but perhaps the
    /// directories above.
    pub fn make(&mut self, member: &ReadMember) -> Result<Option<NewFile>, Refusal> {
        let made = self.try_make(member);
        match (&member.kind, &made) {
            (ReadKind::File, Err(_)) => self.not_made(&member.path),
            (ReadKind::File, Ok(_)) if !self.not_made.is_empty() => {
                self.not_made.remove(&plain(&member.path));
            }
            _ => {}
        }
        made
    }

    /// Notes that a file of the archive did not arrive. Hard links to it are refused.
    pub fn not_made(&mut self, path: &[u8]) {
        self.not_made.insert(plain(path));
    }

    fn try_make(&mut self, member: &ReadMember) -> Result<Option<NewFile>, Refusal> {
        let components = components(&member.path)?;
        let Some((name, above)) = components.split_last() else {
            // The directory itself.
            return match member.kind {
                ReadKind::Directory => {
                    self.later(member, components);
                    Ok(None)
                }
                _ => Err(Refusal::Rule("its path is empty")),
            };
        };
        match &member.kind {
            ReadKind::Directory => {
                self.open.writable(&components)?;
                self.later(member, components);
            }
            ReadKind::File => {
                return self.file(member, above, name).map(Some);
            }
            ReadKind::Symlink(target) => self.symlink(member, above, name, target)?,
            ReadKind::HardLink(first) => self.hard_link(above, name, first)?,
            ReadKind::Other(kind) => return Err(Refusal::Kind(kind)),
            ReadKind::Note(_) => return Err(Refusal::Kind("of an unknown type")),
        }
        Ok(None)
    }

    fn file(
        &mut self,
        member: &ReadMember,
        above: &[Vec<u8>],
        name: &[u8],
    ) -> Result<NewFile, Refusal> {
        let directory = self.open.directory(above)?;
        let options = AtomicFileOptions::new().replace(self.replace);
        // Nobody else reads it before it is whole.
        let mode = if self.single { 0o666 } else { 0o600 };
        let mut options = options.mode(mode).sync(self.sync_each);
        if self.resume {
            let size = member
                .sparse
                .as_ref()
                .map_or(member.stored, SparseMap::size);
            let time = (member.mtime, member.mtime_nanoseconds);
            options = options.kept(there::part_name(name, size, time));
        }
        let file = options.create_in(directory, OsStr::from_bytes(name));
        let file = file.map_err(|error| {
            let busy = Some(Errno::AGAIN.raw_os_error());
            if self.resume && error.is_not_created() && error.raw_os_error() == busy {
                return Refusal::Rule("another transfer is receiving it");
            }
            not_named(error)
        })?;
        Ok(NewFile {
            file,
            mode: (!self.single).then(|| self.mode(member)),
            modified: modified(member),
            owner: self.owner(member),
            xattrs: self.attributes(member),
        })
    }

    fn later(&mut self, member: &ReadMember, components: Vec<Vec<u8>>) {
        self.later.push(Later {
            components,
            mode: self.mode(member),
            times: times(member),
            owner: self.owner(member),
            xattrs: self.attributes(member),
        });
    }

    fn mode(&self, member: &ReadMember) -> u32 {
        member.mode & 0o777 & !self.umask
    }

    fn attributes(&self, member: &ReadMember) -> Attributes {
        let all = member.xattrs.iter().filter(|_| self.xattrs);
        let users = all.filter(|(name, _)| name.starts_with(b"user."));
        users.cloned().collect()
    }

    fn owner(&self, member: &ReadMember) -> Option<(u32, u32)> {
        let number = |id: u64| u32::try_from(id).ok();
        let owner = number(member.uid).zip(number(member.gid));
        owner.filter(|_| self.owners)
    }

    /// Gives the directories their modes and times, and syncs the file system, so that a power cut
    /// can take nothing away. For tens of thousands of files, one syncfs(2) costs less than an
    /// fsync(2) of each; it also waits for what other programs have written to this file system.
    ///
    /// Returns why a directory lacks some of it; `None` if none does.
    ///
    /// # Errors
    /// That of syncfs(2).
    pub fn finish(mut self, sync: bool) -> io::Result<Option<io::Error>> {
        let mut lacks = None;
        // Inner directories first: afterwards an outer one may no longer let us in.
        for later in std::mem::take(&mut self.later).into_iter().rev() {
            lacks = lacks.or(self.give(&later));
        }
        if sync {
            retry_on_intr(|| rustix::fs::syncfs(self.open.root()))?;
        }
        Ok(lacks)
    }

    /// Gives a directory what it may get. Returns the first error.
    fn give(&mut self, later: &Later) -> Option<io::Error> {
        let directory = match self.open.directory(&later.components) {
            Ok(directory) => directory,
            Err(refusal) => return Some(io::Error::other(refusal)),
        };
        let owner = later.owner.map_or(Ok(()), |owner| chown(directory, owner));
        let xattrs = set_xattrs(directory, &later.xattrs);
        let mode = rustix::fs::fchmod(directory, Mode::from_raw_mode(later.mode));
        let times = rustix::fs::futimens(directory, &later.times);
        let others = mode.and(times).map_err(io::Error::from);
        owner.and(xattrs).and(others).err()
    }
}

impl NewFile {
    /// The file, empty and open for writing.
    pub fn file(&self) -> &AtomicFile {
        &self.file
    }

    /// Whether what came of it stays when it is dropped, as [`Destination::resume`] asks for. Not
    /// where the file system has no locks.
    pub fn is_kept(&self) -> bool {
        self.file.is_kept()
    }

    /// Removes it, also if what came of it was to [stay](Destination::resume).
    pub fn discard(self) {
        self.file.discard();
    }

    /// Sets its time and mode, closes it, and gives it its name. It is not synced, unless
    /// [`Destination::sync_each`] is set: [`Destination::finish`] does that for all files.
    ///
    /// Returns why it lacks its owner or extended attributes: not everybody may give them, and not
    /// every file system has them.
    ///
    /// # Errors
    /// Those of the system calls; another file has got the name meanwhile.
    pub fn finish(self) -> Result<Option<io::Error>, Refusal> {
        let owner = self.owner.map_or(Ok(()), |owner| chown(&self.file, owner));
        let lacks = owner.and(set_xattrs(&self.file, &self.xattrs)).err();
        if let Some(mode) = self.mode {
            let permissions = Permissions::from_mode(mode);
            self.file
                .set_permissions(permissions)
                .map_err(Refusal::Failed)?;
        }
        self.file
            .set_times(FileTimes::new().set_modified(self.modified))
            .map_err(Refusal::Failed)?;
        self.file.commit().map_err(not_named)?;
        Ok(lacks)
    }
}

/// Why a file did not get its name. The error keeps its kind, since a full disk ends everything.
fn not_named(error: underpass::atomic_file::Error) -> Refusal {
    if error.is_already_there() {
        return Refusal::Exists;
    }
    let number = error.raw_os_error().map(io::Error::from_raw_os_error);
    let kind = number.map_or(io::ErrorKind::Other, |error| error.kind());
    Refusal::Failed(io::Error::new(kind, error))
}

fn chown(fd: impl AsFd, (uid, gid): (u32, u32)) -> io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(uid),
        rustix::fs::Gid::from_raw(gid),
    );
    Ok(rustix::fs::fchown(fd, Some(uid), Some(gid))?)
}

/// Fails with `EOPNOTSUPP` where the file system has none.
fn set_xattrs(fd: impl AsFd, xattrs: &Attributes) -> io::Result<()> {
    for (name, value) in xattrs {
        rustix::fs::fsetxattr(&fd, &name[..], value, XattrFlags::empty())?;
    }
    Ok(())
}

/// The components of a path, without `.`.
fn components(path: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    if path.is_empty() {
        return Err(Refusal::Rule("its path is empty"));
    }
    if path.starts_with(b"/") {
        return Err(Refusal::Rule("its path is absolute"));
    }
    if path.contains(&0) {
        return Err(Refusal::Rule("its path has a zero byte"));
    }
    let parts = path.split(|byte| *byte == b'/');
    let parts: Vec<_> = parts.filter(|part| !matches!(*part, b"" | b".")).collect();
    if parts.contains(&&b".."[..]) {
        return Err(Refusal::Rule("its path has `..` in it"));
    }
    Ok(parts.into_iter().map(<[u8]>::to_vec).collect())
}

/// A path as its components with slashes between them. Empty for one that is refused.
fn plain(path: &[u8]) -> Vec<u8> {
    components(path).unwrap_or_default().join(&b'/')
}

fn modified(member: &ReadMember) -> SystemTime {
    let seconds = Duration::from_secs(member.mtime.unsigned_abs());
    let whole = if member.mtime < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    let part = Duration::from_nanos(member.mtime_nanoseconds.into());
    let time = whole.and_then(|whole| whole.checked_add(part));
    time.unwrap_or(SystemTime::UNIX_EPOCH)
}

/// The time of the last change; that of the last access stays.
fn times(member: &ReadMember) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: rustix::fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: member.mtime,
            tv_nsec: member.mtime_nanoseconds.into(),
        },
    }
}

#[cfg(test)]
mod tests;
