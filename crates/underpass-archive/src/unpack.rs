//! Puts the entries of an archive below a directory, which nothing leaves.
//!
//! # What an archive may do
//! - Every path is walked from the open directory, component by component, and no symbolic link is
//!   followed: neither one that the archive made, nor one that was there. So an archive cannot lead
//!   out by a link, whatever it contains and whatever happens in the tree meanwhile.
//! - Absolute paths, paths with `..`, empty paths, and paths with a zero byte are refused.
//! - Devices, FIFOs and unknown types are refused.
//! - A hard link must lead to a regular file below the directory.
//! - Of the mode, the permissions of owner, group and others are taken, less the umask.
//!   Set-user-ID, set-group-ID and the sticky bit are left out.
//! - Of the extended attributes, only those of users (`user.*`) are taken, if
//!   [`Destination::xattrs`] is set. Others can grant capabilities.
//! - What is there already is kept, and that is an error, unless [`Destination::replace`] is set.
//!   Directories are merged in any case. A directory is never replaced by something else.
//!
//! With [`Destination::resume`], what came of a file stays when the transfer breaks off, in a
//! hidden file beside it, and a later transfer of the same file goes on with it.
//!
//! A file appears under its name when it is whole. The modes and times of directories are set at
//! the end, since filling them changes the times.

use std::ffi::OsStr;
use std::fs::{FileTimes, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fd::AsFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, linkat, openat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::{Errno, retry_on_intr};
use underpass::AtomicFile;
use underpass::atomic_file::AtomicFileOptions;

use crate::tar::{ReadKind, ReadMember, SparseMap};
use directories::Directories;
pub use refusal::Refusal;
pub use there::There;

mod directories;
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
                self.open.directory(&components)?;
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
            if error.is_already_there() {
                Refusal::Exists
            } else {
                Refusal::Failed(io::Error::other(error))
            }
        })?;
        Ok(NewFile {
            file,
            mode: (!self.single).then(|| self.mode(member)),
            modified: modified(member),
            owner: self.owner(member),
            xattrs: self.attributes(member),
        })
    }

    fn symlink(
        &mut self,
        member: &ReadMember,
        above: &[Vec<u8>],
        name: &[u8],
        target: &[u8],
    ) -> Result<(), Refusal> {
        let owner = self.owner(member);
        let replace = self.replace;
        let resume = self.resume;
        let directory = self.open.directory(above)?;
        let made = make_link(directory, name, replace, |name| {
            symlinkat(target, directory, name)
        });
        match made {
            Err(Refusal::Exists) if resume && there::leads_to(directory, name, target) => {}
            made => made?,
        }
        if let Some((uid, gid)) = owner {
            let (uid, gid) = (
                rustix::fs::Uid::from_raw(uid),
                rustix::fs::Gid::from_raw(gid),
            );
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(directory, name, Some(uid), Some(gid), flags)?;
        }
        utimensat(directory, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn hard_link(&mut self, above: &[Vec<u8>], name: &[u8], first: &[u8]) -> Result<(), Refusal> {
        let first = components(first)?;
        let (first_name, first_above) = first
            .split_last()
            .ok_or(Refusal::Rule("it links to nothing"))?;
        let from = self.open.directory(first_above)?.try_clone_to_owned();
        let from = from.map_err(Refusal::Failed)?;
        let missing = |errno| match errno {
            Errno::NOENT => Refusal::Rule("the file that it links to is not there"),
            errno => Refusal::from(errno),
        };
        let stat = statat(&from, &first_name[..], AtFlags::SYMLINK_NOFOLLOW).map_err(missing)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Refusal::Rule("it links to something that is no file"));
        }
        let (replace, resume) = (self.replace, self.resume);
        let directory = self.open.directory(above)?;
        let made = make_link(directory, name, replace, |name| {
            linkat(&from, &first_name[..], directory, name, AtFlags::empty())
        });
        match made {
            Err(Refusal::Exists) if resume && there::is_same(directory, name, &stat) => Ok(()),
            made => made,
        }
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
    pub fn finish(self) -> io::Result<Option<io::Error>> {
        let owner = self.owner.map_or(Ok(()), |owner| chown(&self.file, owner));
        let lacks = owner.and(set_xattrs(&self.file, &self.xattrs)).err();
        if let Some(mode) = self.mode {
            self.file.set_permissions(Permissions::from_mode(mode))?;
        }
        self.file
            .set_times(FileTimes::new().set_modified(self.modified))?;
        self.file.commit().map_err(io::Error::other)?;
        Ok(lacks)
    }
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

/// Makes a link. If something of that name is to be replaced, the new link is made beside it and
/// renamed.
fn make_link(
    directory: impl AsFd + Copy,
    name: &[u8],
    replace: bool,
    make: impl Fn(&[u8]) -> rustix::io::Result<()>,
) -> Result<(), Refusal> {
    match make(name) {
        Err(Errno::EXIST) if replace => {}
        Err(Errno::EXIST) => return Err(Refusal::Exists),
        done => return Ok(done?),
    }
    let beside = format!(
        ".underpass-link-{}.part",
        rustix::process::getpid().as_raw_nonzero()
    );
    let beside = beside.as_bytes();
    match unlinkat(directory, beside, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    make(beside)?;
    let renamed = rustix::fs::renameat(directory, beside, directory, name);
    // rename(2) does nothing if both are the same file already.
    let _ = unlinkat(directory, beside, AtFlags::empty());
    Ok(renamed?)
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
