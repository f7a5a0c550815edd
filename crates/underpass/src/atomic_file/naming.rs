//! Gives a file a name that no other file has.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::fd::BorrowedFd;
use rustix::fs::{Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::sys::files::FileCalls;

/// Renames `from` to `to`, which must not exist: [`Errno::EXIST`] then.
///
/// Some file systems do not support `RENAME_NOREPLACE`, some have no hard links, and a sandbox may
/// refuse either with any errno. If neither works, an empty file takes the name first and is then
/// replaced. No other file is lost, but for a moment the name leads to the empty file.
pub(super) fn rename_new(
    sys: &dyn FileCalls,
    directory: BorrowedFd<'_>,
    from: &OsStr,
    to: &OsStr,
) -> Result<(), Errno> {
    match sys.rename(directory, from, to, RenameFlags::NOREPLACE) {
        Err(errno) if may_work_otherwise(errno) => {}
        done => return done,
    }
    match sys.link(directory, from, to) {
        Ok(()) => {
            // The file has its name. If the temporary one cannot be removed, it does no harm.
            let _ = sys.unlink(directory, from);
            return Ok(());
        }
        Err(errno) if may_work_otherwise(errno) => {}
        failed => return failed,
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY;
    let taken = sys.open(directory, to, flags, Mode::from_raw_mode(0o600))?;
    let ours = sys.stat(taken.as_fd(), OsStr::new("")).ok();
    let renamed = sys.rename(directory, from, to, RenameFlags::empty());
    if renamed.is_err() && ours.is_some() && sys.stat(directory, to).ok() == ours {
        let _ = sys.unlink(directory, to);
    }
    renamed
}

/// Whether an errno may mean that the call is not supported here. The errnos below never mean that.
fn may_work_otherwise(errno: Errno) -> bool {
    !matches!(
        errno,
        Errno::EXIST
            | Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::NAMETOOLONG
            | Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::IO
    )
}
