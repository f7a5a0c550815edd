//! What a new file keeps of the one that it replaces: owner, permissions, ACL, extended attributes.

use std::ffi::{CStr, OsStr};

use rustix::fd::BorrowedFd;
use rustix::fs::{FileType, Mode, OFlags, StatxAttributes};
use rustix::io::Errno;

use super::error::{Cause, Error};
use crate::sys::files::{FileCalls, Found};

/// Permissions without set-user-ID, set-group-ID and sticky: those were given to the old content.
const PERMISSIONS: u32 = 0o777;

/// The attribute that holds the POSIX ACL (xattr(7)).
const ACL: &CStr = c"system.posix_acl_access";

/// Fails if it is known beforehand that rename(2) cannot replace `found`.
pub(super) fn check(found: &Found, directory: StatxAttributes) -> Result<(), Error> {
    let marked = StatxAttributes::APPEND | StatxAttributes::IMMUTABLE;
    if FileType::from_raw_mode(found.mode) != FileType::RegularFile {
        return Err(Cause::NotAFile.into());
    }
    if found.attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Err(Cause::MountPoint.into());
    }
    if found.attributes.intersects(marked) {
        return Err(Cause::Marked.into());
    }
    if directory.contains(StatxAttributes::APPEND) {
        return Err(Cause::AppendOnlyDirectory.into());
    }
    Ok(())
}

/// Gives `new` the attributes of the file `name` in `directory`. At no moment may more users have
/// access than to the old file: so the owner is changed while only the owner has access, and the
/// permissions are set last.
pub(super) fn take_over(
    sys: &dyn FileCalls,
    (directory, name): (BorrowedFd<'_>, &OsStr),
    found: &Found,
    new: BorrowedFd<'_>,
) -> Result<(), Error> {
    let made = sys.stat(new, OsStr::new("")).map_err(Error::call("stat"))?;
    if (made.uid, made.gid) != (found.uid, found.gid) {
        let (uid, gid) = (found.uid, found.gid);
        sys.set_owner(new, uid, gid)
            .map_err(|errno| Cause::Owner { uid, gid, errno })?;
    }
    extended(sys, directory, name, new)?;
    sys.set_mode(new, found.mode & PERMISSIONS)
        .map_err(|errno| attribute("mode", errno))
}

fn extended(
    sys: &dyn FileCalls,
    directory: BorrowedFd<'_>,
    name: &OsStr,
    new: BorrowedFd<'_>,
) -> Result<(), Error> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let old = sys
        .open(directory, name, flags, Mode::empty())
        .map_err(|errno| attribute("attributes", errno))?;
    let old = rustix::fd::AsFd::as_fd(&old);
    let names = match sys.attribute_names(old) {
        Ok(names) => names,
        // The file system has no extended attributes.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
        Err(errno) => return Err(attribute("attributes", errno)),
    };
    for name in names.iter().filter(|name| is_kept(name)) {
        copy(sys, old, new, name)?;
    }
    // The new file got an ACL from the directory. It would let others in.
    if !names.iter().any(|name| name.as_c_str() == ACL) {
        match sys.remove_attribute(new, ACL) {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOSYS) => {}
            Err(errno) => return Err(attribute("lack of an ACL", errno)),
        }
    }
    Ok(())
}

/// Whether the new file gets the attribute. Not if the kernel derives it from the content, or
/// grants something because of the content: it then belongs to the old content only.
fn is_kept(name: &CStr) -> bool {
    const OF_CONTENT: [&CStr; 3] = [c"security.capability", c"security.ima", c"security.evm"];
    !OF_CONTENT.contains(&name)
}

fn copy(
    sys: &dyn FileCalls,
    old: BorrowedFd<'_>,
    new: BorrowedFd<'_>,
    name: &CStr,
) -> Result<(), Error> {
    let said = |errno| attribute(&name.to_string_lossy(), errno);
    let value = sys.attribute(old, name).map_err(said)?;
    // The security label may be the same already, and only a privileged process may set it.
    let same = sys.attribute(new, name).is_ok_and(|now| now == value);
    match value {
        Some(value) if !same => sys.set_attribute(new, name, &value).map_err(said),
        _ => Ok(()),
    }
}

fn attribute(name: &str, errno: Errno) -> Error {
    let name = name.to_owned();
    Cause::Attribute { name, errno }.into()
}
