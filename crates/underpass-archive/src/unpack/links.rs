//! Makes symbolic and hard links.

use rustix::fd::AsFd;
use rustix::fs::{
    AtFlags, FileType, Gid, Uid, chownat, linkat, renameat, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::{Destination, Refusal, components, there, times};
use crate::tar::ReadMember;

impl Destination {
    pub(super) fn symlink(
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
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            chownat(directory, name, Some(uid), Some(gid), flags)?;
        }
        utimensat(directory, name, &times(member), AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    pub(super) fn hard_link(
        &mut self,
        above: &[Vec<u8>],
        name: &[u8],
        first: &[u8],
    ) -> Result<(), Refusal> {
        let first = components(first)?;
        let (first_name, first_above) = first
            .split_last()
            .ok_or(Refusal::Rule("it links to nothing"))?;
        if self.not_made.contains(&first.join(&b'/')) {
            return Err(Refusal::Rule("the file that it links to did not arrive"));
        }
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
    let renamed = renameat(directory, beside, directory, name);
    // rename(2) does nothing if both are the same file already.
    let _ = unlinkat(directory, beside, AtFlags::empty());
    Ok(renamed?)
}
