//! Why a file did not get its name.

use std::fmt;
use std::io;

use rustix::io::Errno;

/// The error of a file that did not get its name, or may lose it in a power cut. The message does
/// not name the file: the caller knows its path.
///
/// The cause is private, so that causes can be added. Use the `is_` methods.
#[derive(Debug)]
pub struct Error {
    pub(super) cause: Cause,
}

#[derive(Debug)]
pub(super) enum Cause {
    /// There is a file of that name, which is not to be replaced.
    Exists,
    /// The name is empty, `.` or `..`, or contains a slash.
    NoName,
    /// The name leads to a directory, a device, a link, a FIFO or a socket.
    NotAFile,
    /// The name is the root of a mount: rename(2) would fail with EBUSY.
    MountPoint,
    /// The file is marked append-only or immutable.
    Marked,
    /// The directory is append-only: nothing in it can be renamed or removed.
    AppendOnlyDirectory,
    /// The new file cannot be given the owner of the old one.
    Owner { uid: u32, gid: u32, errno: Errno },
    /// The new file cannot be given another attribute of the old one.
    Attribute { name: String, errno: Errno },
    /// The temporary file cannot be made.
    Create(Errno),
    /// A system call failed; nothing has changed.
    Call(&'static str, Errno),
    /// The file has its name, but the directory could not be synced.
    NotDurable(Errno),
}

impl Error {
    pub(super) fn call(what: &'static str) -> impl Fn(Errno) -> Self {
        move |errno| Cause::Call(what, errno).into()
    }

    /// There is a file of that name, and replacing it was not asked for.
    pub fn is_already_there(&self) -> bool {
        matches!(self.cause, Cause::Exists)
    }

    /// The name leads to something that is not a regular file.
    pub fn is_not_a_file(&self) -> bool {
        matches!(self.cause, Cause::NotAFile)
    }

    /// The new file cannot replace the old one, or only by losing some of its attributes. Writing
    /// into the old file may be possible.
    pub fn is_irreplaceable(&self) -> bool {
        matches!(
            self.cause,
            Cause::MountPoint
                | Cause::Marked
                | Cause::AppendOnlyDirectory
                | Cause::Owner { .. }
                | Cause::Attribute { .. }
        )
    }

    /// The old file is append-only or immutable (chattr(1)): nothing can be done about its content.
    pub fn is_marked(&self) -> bool {
        matches!(self.cause, Cause::Marked)
    }

    /// The file has its name all the same; it may be lost in a power cut.
    pub fn is_named(&self) -> bool {
        matches!(self.cause, Cause::NotDurable(_))
    }

    /// The temporary file could not be made.
    pub fn is_not_created(&self) -> bool {
        matches!(self.cause, Cause::Create(_))
    }

    /// The kernel's error number, where one was the cause.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.errno().map(Errno::raw_os_error)
    }

    fn errno(&self) -> Option<Errno> {
        match self.cause {
            Cause::Owner { errno, .. }
            | Cause::Attribute { errno, .. }
            | Cause::Create(errno)
            | Cause::Call(_, errno)
            | Cause::NotDurable(errno) => Some(errno),
            _ => None,
        }
    }
}

impl From<Cause> for Error {
    fn from(cause: Cause) -> Self {
        Self { cause }
    }
}

/// The same kind of error; the kernel's number is kept where there is one.
impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match (error.errno(), &error.cause) {
            (Some(errno), _) => errno.into(),
            (None, Cause::Exists) => Self::new(io::ErrorKind::AlreadyExists, error),
            (None, Cause::NoName) => Self::new(io::ErrorKind::InvalidInput, error),
            (None, Cause::MountPoint) => Self::new(io::ErrorKind::ResourceBusy, error),
            (None, _) => Self::new(io::ErrorKind::PermissionDenied, error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Exists => f.write_str("exists"),
            Cause::NoName => f.write_str("is not a name that a file can have"),
            Cause::NotAFile => f.write_str("is not a regular file"),
            Cause::MountPoint => {
                f.write_str("is a mount point, as bind-mounted files are, and cannot be replaced")
            }
            Cause::Marked => {
                f.write_str("is marked append-only or immutable, until `chattr -ai` lifts that")
            }
            Cause::AppendOnlyDirectory => f.write_str(
                "is in a directory marked append-only (chattr), where nothing can be renamed",
            ),
            Cause::Owner { uid, gid, errno } => write!(
                f,
                "belongs to user {uid} and group {gid}, which a new file in its place cannot be given ({errno})"
            ),
            Cause::Attribute { name, errno } => write!(
                f,
                "its {name} cannot be given to a new file in its place ({errno})"
            ),
            Cause::Create(errno) => write!(f, "cannot be created: {errno}"),
            Cause::Call(what, errno) => write!(f, "{what}: {errno}"),
            Cause::NotDurable(errno) => write!(
                f,
                "is in place, but may not survive a power cut: its directory cannot be synced: {errno}"
            ),
        }
    }
}

impl std::error::Error for Error {}
