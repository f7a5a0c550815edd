//! An upload on disk, before it has its name.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::HeaderMap;
use rustix::fd::OwnedFd;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, fchmod, linkat, openat, renameat, statat, unlinkat,
};
use rustix::io::Errno;

use super::METHOD;
use crate::file::Version;
use crate::semantics::conditional::{self, Validators, last_modified};
use crate::semantics::{entity_tag, path};

/// What a file that is not whole yet is called, where the file system has no files without a name.
const PREFIX: &str = ".underpass-upload-";

/// Judging a precondition and acting on it are one step among the uploads of this process.
static PUBLISHING: Mutex<()> = Mutex::new(());

pub(super) struct Pending {
    pub(super) file: File,
    directory: OwnedFd,
    name: Vec<u8>,
    /// The name it has for now, if it has one.
    temporary: Option<String>,
}

/// What is in the place of the upload.
pub(super) enum Target {
    /// A regular file, or nothing; and whether the request's preconditions hold.
    Usable {
        proceed: bool,
    },
    NoFile,
}

pub(super) enum Outcome {
    Created(String),
    Replaced(String),
    PreconditionFailed,
}

/// Whether a path leads to an upload that is not whole.
pub(in crate::serve_dir) fn is_ours(relative: &[u8]) -> bool {
    path::file_name(relative).starts_with(PREFIX.as_bytes())
}

impl Pending {
    pub(super) fn new(directory: OwnedFd, name: &[u8]) -> io::Result<Self> {
        let mode = Mode::from_raw_mode(0o666);
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let (file, temporary) = match openat(&directory, ".", flags, mode) {
            Ok(file) => (file, None),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let temporary = temporary_name();
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = openat(&directory, &temporary, flags, mode)?;
                (file, Some(temporary))
            }
            Err(errno) => return Err(errno.into()),
        };
        Ok(Self {
            file: file.into(),
            directory,
            name: name.to_owned(),
            temporary,
        })
    }

    /// What is there, and whether it is what the request means.
    pub(super) fn precondition(&self, headers: &HeaderMap) -> io::Result<Target> {
        let Some(stat) = self.current()? else {
            return Ok(usable(headers, None));
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Target::NoFile);
        }
        Ok(usable(headers, Some(&stat)))
    }

    fn current(&self) -> io::Result<Option<Stat>> {
        match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Gives the file its name, if the preconditions still hold. What was there stays whole until then, and to who reads
    /// it beyond. On disk before it is seen.
    pub(super) fn publish(mut self, headers: &HeaderMap) -> io::Result<Outcome> {
        if let Some(stat) = self.current()? {
            fchmod(&self.file, Mode::from_raw_mode(stat.st_mode))?;
        }
        // The kernel's own times have a tick of milliseconds, in which two uploads could get the same tag.
        self.file.set_modified(SystemTime::now())?;
        self.file.sync_all()?;
        let _publishing = PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner);
        if !matches!(
            self.precondition(headers)?,
            Target::Usable { proceed: true }
        ) {
            return Ok(Outcome::PreconditionFailed);
        }
        let existed = self.current()?.is_some();
        self.name_it(existed)?;
        let etag = etag_of(&rustix::fs::fstat(&self.file)?);
        Ok(if existed {
            Outcome::Replaced(etag)
        } else {
            Outcome::Created(etag)
        })
    }

    fn name_it(&mut self, replace: bool) -> io::Result<()> {
        if self.temporary.is_none() {
            let this = format!("/proc/self/fd/{}", self.file.as_raw_fd());
            let follow = AtFlags::SYMLINK_FOLLOW;
            if !replace {
                return Ok(linkat(CWD, &this, &self.directory, &self.name, follow)?);
            }
            // linkat(2) replaces nothing, so it is whole under a name of ours for a moment.
            let temporary = temporary_name();
            linkat(CWD, &this, &self.directory, &temporary, follow)?;
            self.temporary = Some(temporary);
        }
        if let Some(temporary) = &self.temporary {
            renameat(&self.directory, temporary, &self.directory, &self.name)?;
            self.temporary = None;
        }
        Ok(())
    }
}

fn usable(headers: &HeaderMap, current: Option<&Stat>) -> Target {
    let etag = current.map(etag_of);
    let validators = current.zip(etag.as_deref()).map(|(stat, etag)| Validators {
        etag,
        modified: last_modified(stat.st_mtime),
    });
    let outcome = conditional::evaluate(&METHOD, headers, validators.as_ref());
    Target::Usable {
        proceed: outcome == conditional::Outcome::Proceed,
    }
}

fn etag_of(stat: &Stat) -> String {
    entity_tag::of(&Version::of(stat), None)
}

/// One of this process's own.
fn temporary_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Relaxed);
    format!("{PREFIX}{}-{count}", std::process::id())
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // It is of no use to anybody; if it cannot be removed, nobody is shown it.
            let _ = unlinkat(&self.directory, temporary, AtFlags::empty());
        }
    }
}
