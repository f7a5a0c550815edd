//! The directory, the name and the temporary name of a file.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{CWD, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use super::error::{Cause, Error};
use super::{AtomicFileOptions, look, naming};
use crate::sys::files::{FileCalls, Found};

/// Most bytes of the target's name in the temporary name. The whole name stays below the 255 bytes
/// that Linux allows (NAME_MAX), and below the 143 of encrypted file systems.
const NAME_SHOWN: usize = 100;

/// How many temporary names are tried; each is one of 2^40.
const NAMES_TRIED: usize = 100;

/// The name that a file will have, and the one that it has until then.
pub(super) struct Target {
    pub(super) sys: &'static dyn FileCalls,
    pub(super) directory: OwnedFd,
    /// The directory can be synced: it is open for reading.
    pub(super) readable: bool,
    pub(super) name: OsString,
    pub(super) temporary: Option<OsString>,
    /// The temporary name stays when nothing comes of the file.
    pub(super) kept: bool,
    /// What temporary names begin with.
    prefix: OsString,
    pub(super) replace: bool,
    /// Nothing in the directory can be renamed or removed.
    pub(super) append_only: bool,
    pub(super) sync: bool,
}

impl Target {
    pub(super) fn open(
        sys: &'static dyn FileCalls,
        directory: BorrowedFd<'_>,
        name: &OsStr,
        (options, append_only): (&AtomicFileOptions, bool),
    ) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let opened = sys.open(directory, OsStr::new("."), flags, Mode::empty());
        // A directory that may be written but not read (a drop box) is used as it was given.
        let readable = opened.is_ok();
        let directory = opened
            .or_else(|_| rustix::io::fcntl_dupfd_cloexec(directory, 0))
            .map_err(Error::call("dup"))?;
        Ok(Self {
            sys,
            directory,
            readable,
            name: name.to_owned(),
            temporary: None,
            kept: false,
            prefix: options.prefix.clone().unwrap_or_else(|| hidden(name)),
            replace: options.replace,
            append_only,
            sync: options.sync,
        })
    }

    /// The file to be replaced, if there is one now.
    pub(super) fn existing(&self) -> Result<Option<Found>, Error> {
        if !self.replace {
            return Ok(None);
        }
        look(self.sys, self.directory.as_fd(), &self.name)
    }

    /// Makes the temporary file, without a name if that was asked for or is the only way.
    pub(super) fn begin(
        &mut self,
        options: &AtomicFileOptions,
        mode: Mode,
    ) -> Result<OwnedFd, Error> {
        let (sys, directory) = (self.sys, self.directory.as_fd());
        if let (Some(name), false) = (&options.kept, self.append_only)
            && let Some(file) = open_kept(sys, directory, name, mode).map_err(Cause::Create)?
        {
            self.temporary = Some(name.clone());
            self.kept = true;
            return Ok(file);
        }
        if options.unnamed || self.append_only {
            let flags = OFlags::TMPFILE | OFlags::RDWR;
            let file = sys.open(directory, OsStr::new("."), flags, mode);
            if let Ok(file) = file
                && can_be_linked(sys, file.as_fd())
            {
                return Ok(file);
            }
        }
        if self.append_only {
            return Err(Cause::AppendOnlyDirectory.into());
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        for _ in 0..NAMES_TRIED {
            let name = temporary_name(&self.prefix);
            match sys.open(directory, &name, flags, mode) {
                Err(Errno::EXIST) => {}
                Ok(file) => {
                    self.temporary = Some(name);
                    return Ok(file);
                }
                Err(errno) => return Err(Cause::Create(errno).into()),
            }
        }
        Err(Cause::Create(Errno::EXIST).into())
    }

    /// Gives a file without a name its name.
    pub(super) fn link(&mut self, file: BorrowedFd<'_>) -> Result<(), Errno> {
        let (sys, directory) = (self.sys, self.directory.as_fd());
        match sys.link_open(file, directory, &self.name) {
            // In an append-only directory the temporary name below would stay for ever.
            Err(Errno::EXIST) if self.replace && !self.append_only => {}
            done => return done,
        }
        // linkat(2) replaces nothing, so the file has a temporary name for a moment.
        let name = temporary_name(&self.prefix);
        sys.link_open(file, directory, &name)?;
        self.temporary = Some(name);
        self.rename()
    }

    pub(super) fn rename(&self) -> Result<(), Errno> {
        let (sys, directory) = (self.sys, self.directory.as_fd());
        let temporary = self.temporary.as_ref().ok_or(Errno::NOENT)?;
        if self.replace {
            sys.rename(directory, temporary, &self.name, RenameFlags::empty())
        } else {
            naming::rename_new(sys, directory, temporary, &self.name)
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        if let (Some(temporary), false) = (&self.temporary, self.kept) {
            // If it cannot be removed, nothing else can be done about it.
            let _ = self.sys.unlink(self.directory.as_fd(), temporary);
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("name", &self.name)
            .field("temporary", &self.temporary)
            .finish_non_exhaustive()
    }
}

/// Opens what an earlier attempt has left, or makes it. `None` if it cannot be locked.
fn open_kept(
    sys: &dyn FileCalls,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    mode: Mode,
) -> Result<Option<OwnedFd>, Errno> {
    match sys.stat(directory, name) {
        // A link of somebody else's would have us write into another file.
        Ok(found) if !is_own(&found) => sys.unlink(directory, name)?,
        Ok(_) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW;
    let file = match sys.open(directory, name, flags, mode) {
        // It has got the mode of a file that forbids writing, or is to replace such a file.
        Err(Errno::ACCESS) => {
            permit(sys, directory, name)?;
            sys.open(directory, name, flags, mode)?
        }
        opened => opened?,
    };
    // What was opened may be another one by now.
    if !is_own(&sys.stat(file.as_fd(), OsStr::new(""))?) {
        return Err(Errno::EXIST);
    }
    // Another process that goes on with it would mix its bytes with ours.
    match sys.lock(file.as_fd()) {
        Ok(()) => Ok(Some(file)),
        Err(Errno::AGAIN) => Err(Errno::AGAIN),
        // ENOLCK, EOPNOTSUPP, ENOSYS and others: some network file systems have no locks. Nobody
        // goes on with this file then, since nobody can lock it. If it is new, it goes again.
        Err(_) => {
            if rustix::fs::fstat(&file)?.st_size == 0 {
                sys.unlink(directory, name)?;
            }
            Ok(None)
        }
    }
}

/// Lets the owner of a file write into it, or removes it.
fn permit(sys: &dyn FileCalls, directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(file) = sys.open(directory, name, flags, Mode::empty()) else {
        return sys.unlink(directory, name);
    };
    let found = sys.stat(file.as_fd(), OsStr::new(""))?;
    if !is_own(&found) {
        return Err(Errno::EXIST);
    }
    sys.set_mode(file.as_fd(), found.mode & 0o777 | 0o600)
}

fn is_own(found: &Found) -> bool {
    FileType::from_raw_mode(found.mode) == FileType::RegularFile
        && found.links == 1
        && found.uid == rustix::process::geteuid().as_raw()
}

/// Whether a file without a name can be given one. Without privileges that needs /proc, which may
/// not be mounted.
fn can_be_linked(sys: &dyn FileCalls, file: BorrowedFd<'_>) -> bool {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    sys.stat(CWD, OsStr::new(&link)).is_ok()
}

fn hidden(name: &OsStr) -> OsString {
    let name = name.as_bytes();
    let is_within = |at: &usize| name.get(*at).is_some_and(|byte| byte & 0xc0 == 0x80);
    let mut end = name.len().min(NAME_SHOWN);
    // Do not cut in the middle of a character; some file systems refuse such names.
    while end > 0 && is_within(&end) {
        end -= 1;
    }
    OsString::from_vec([b".", &name[..end], b"."].concat())
}

fn temporary_name(prefix: &OsStr) -> OsString {
    let drawn = RandomState::new().hash_one(0) & 0xff_ffff_ffff;
    let mut name = prefix.to_owned();
    name.push(format!("{drawn:010x}.part"));
    name
}
