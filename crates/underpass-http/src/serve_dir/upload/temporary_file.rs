//! The temporary file of an upload.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use http::HeaderMap;
use http::header::IF_NONE_MATCH;
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};
use rustix::io::Errno;
use underpass::{AtomicFile, atomic_file};

use super::{METHOD, UploadError};
use crate::file::UPLOAD_PREFIX;
use crate::semantics::conditional::{self, Validators, last_modified};
use crate::semantics::entity_tag;
use crate::sys::Version;

/// Held while preconditions are evaluated and the file is published, so that no other upload of
/// this process comes between.
static PUBLISHING: Mutex<()> = Mutex::new(());

/// The directory and the name of an upload.
pub(super) struct UploadTarget {
    directory: OwnedFd,
    name: Vec<u8>,
}

pub(super) struct TemporaryFile {
    pub(super) file: AtomicFile,
    target: UploadTarget,
}

/// Whether a file was there before, and the tag of the new one.
pub(super) enum Outcome {
    Created(String),
    Replaced(String),
}

impl UploadTarget {
    pub(super) fn new(directory: OwnedFd, name: &[u8]) -> Self {
        Self {
            directory,
            name: name.to_owned(),
        }
    }

    /// Creates the temporary file, if the request's preconditions hold.
    pub(super) fn begin(self, headers: &HeaderMap) -> Result<TemporaryFile, UploadError> {
        self.judge(headers)?;
        let options = atomic_file::AtomicFileOptions::new()
            .replace(!wants_none(headers))
            .unnamed(true)
            .prefix(UPLOAD_PREFIX);
        let file = options.create_in(&self.directory, OsStr::from_bytes(&self.name))?;
        Ok(TemporaryFile { file, target: self })
    }

    /// Evaluates the request's preconditions. Returns whether a file exists.
    fn judge(&self, headers: &HeaderMap) -> Result<bool, UploadError> {
        let current = self.current()?;
        let is_file = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        if !current.as_ref().is_none_or(is_file) {
            return Err(UploadError::no_file());
        }
        let etag = current.as_ref().map(etag_of);
        let validators = current.zip(etag.as_deref()).map(|(stat, etag)| Validators {
            etag,
            modified: last_modified(stat.st_mtime),
        });
        match conditional::evaluate(&METHOD, headers, validators.as_ref()) {
            conditional::Outcome::Proceed => Ok(validators.is_some()),
            _ => Err(UploadError::precondition_failed()),
        }
    }

    fn current(&self) -> io::Result<Option<Stat>> {
        match statat(&self.directory, &*self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl TemporaryFile {
    /// Gives the file its name, if the preconditions still hold. Readers of the old file still see
    /// all of it. The new one is durable when this returns.
    pub(super) fn publish(self, headers: &HeaderMap) -> Result<Outcome, UploadError> {
        let Self { file, target } = self;
        // The kernel's times have a resolution of milliseconds, in which two uploads could get the
        // same tag. If the time may not be set, because the file has another owner, it stays.
        let _ = file.set_modified(SystemTime::now());
        let etag = etag_of(&fstat(&file).map_err(io::Error::from)?);
        let sealed = file.seal()?;
        let (existed, published) = {
            let _publishing = PUBLISHING.lock().unwrap_or_else(PoisonError::into_inner);
            (target.judge(headers)?, sealed.publish()?)
        };
        published.sync()?;
        Ok(if existed {
            Outcome::Replaced(etag)
        } else {
            Outcome::Created(etag)
        })
    }
}

/// `If-None-Match: *`: no file may be replaced, not even one that another program creates at the
/// last moment.
fn wants_none(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(IF_NONE_MATCH).iter();
    fields.any(|field| field.as_bytes().trim_ascii() == b"*")
}

fn etag_of(stat: &Stat) -> String {
    entity_tag::of(&Version::of(stat), None)
}
