//! What a new file takes over from the file that it replaces.

use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use underpass_testing::needs;

use super::{AtomicFileOptions, Committed, Error};
use crate::sys::faulty_files::{Failing, FaultyFiles, FileCall};

fn replace(dir: &Path, name: &str, options: &AtomicFileOptions) -> Result<Committed, Error> {
    let directory = File::open(dir).unwrap();
    let file = options.create_in(&directory, OsStr::new(name))?;
    (&*file).write_all(b"new").unwrap();
    file.commit()
}

#[test]
fn pitfall_32_permissions_and_attributes_stay_and_privileges_go() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    for (mode, want) in [
        (0o600, 0o600),
        (0o640, 0o640),
        (0o6755, 0o755),
        (0o444, 0o444),
    ] {
        std::fs::write(&path, b"old").unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        let set = rustix::fs::setxattr(&path, c"user.note", b"kept", XattrFlags::empty());
        for unnamed in [false, true] {
            let options = AtomicFileOptions::new().replace(true).unnamed(unnamed);
            replace(dir.path(), "name", &options).unwrap();
            let metadata = std::fs::metadata(&path).unwrap();
            assert_eq!(metadata.mode() & 0o7777, want, "of {mode:o}");
            let mut note = [0_u8; 8];
            if set.is_ok() {
                assert_eq!(
                    rustix::fs::getxattr(&path, c"user.note", &mut note[..]),
                    Ok(4)
                );
                assert_eq!(&note[..4], b"kept");
            }
        }
        std::fs::remove_file(&path).unwrap();
    }
}

/// At no moment can more people read the new file than could read the old one, not even before it
/// has its name.
#[test]
fn pitfall_32_the_temporary_file_is_no_wider() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    std::fs::write(&path, b"secret").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let directory = File::open(dir.path()).unwrap();
    let options = AtomicFileOptions::new().replace(true).mode(0o666);
    let file = options.create_in(&directory, OsStr::new("name")).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    // If the old file's permissions are narrowed meanwhile, the new file gets the narrower ones.
    std::fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
    file.commit().unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o400);
}

#[test]
fn pitfall_32_the_owner_stays() {
    if !needs::root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("name");
    std::fs::write(&path, b"old").unwrap();
    std::os::unix::fs::chown(&path, Some(65_534), Some(12)).unwrap();
    replace(dir.path(), "name", &AtomicFileOptions::new().replace(true)).unwrap();
    let metadata = std::fs::metadata(&path).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), (65_534, 12));
}

#[test]
fn other_names_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("name"), b"old").unwrap();
    std::fs::hard_link(dir.path().join("name"), dir.path().join("other")).unwrap();
    let committed = replace(dir.path(), "name", &AtomicFileOptions::new().replace(true)).unwrap();
    assert_eq!(committed.other_names(), 1);
    assert_eq!(std::fs::read(dir.path().join("other")).unwrap(), b"old");
}

#[test]
fn what_is_no_file_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("directory")).unwrap();
    symlink("nowhere", dir.path().join("link")).unwrap();
    std::fs::write(dir.path().join("file"), b"old").unwrap();
    for name in ["directory", "link"] {
        let error = replace(dir.path(), name, &AtomicFileOptions::new().replace(true)).unwrap_err();
        assert!(error.is_not_a_file(), "{name}: {error}");
    }
    let error = replace(dir.path(), "file", &AtomicFileOptions::new()).unwrap_err();
    assert!(error.is_already_there(), "{error}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
}

/// A file that appears while the new one is being written is not replaced, whichever call names the
/// new one.
#[test]
fn one_that_appears_meanwhile_is_not_replaced() {
    for unnamed in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let options = AtomicFileOptions::new().unnamed(unnamed);
        let file = options.create_in(&directory, OsStr::new("name")).unwrap();
        std::fs::write(dir.path().join("name"), b"another's").unwrap();
        assert!(file.commit().unwrap_err().is_already_there());
        let content = std::fs::read(dir.path().join("name")).unwrap();
        assert_eq!(content, b"another's");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_long_name_has_a_temporary_one_that_fits() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["x".repeat(255), "\u{1d11e}".repeat(63)] {
        replace(dir.path(), &name, &AtomicFileOptions::new()).unwrap();
    }
}

#[test]
fn a_name_is_one_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["", ".", "..", "a/b", "/", "a/"] {
        let error = replace(dir.path(), name, &AtomicFileOptions::new().replace(true)).unwrap_err();
        let kind = std::io::Error::from(error).kind();
        assert_eq!(kind, std::io::ErrorKind::InvalidInput, "{name}");
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn nothing_is_left_of_one_that_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let directory = File::open(dir.path()).unwrap();
    let file = AtomicFileOptions::new()
        .create_in(&directory, OsStr::new("name"))
        .unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    let sealed = file.seal().unwrap();
    drop(sealed);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

fn kept(dir: &Path) -> Result<super::AtomicFile, Error> {
    let directory = File::open(dir).unwrap();
    let options = AtomicFileOptions::new().kept("name.part");
    options.create_in(&directory, OsStr::new("name"))
}

#[test]
fn what_is_kept_goes_on_until_it_is_discarded() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("name.part");
    let file = kept(dir.path()).unwrap();
    (&*file).write_all(b"first").unwrap();
    let error = kept(dir.path()).unwrap_err();
    let busy = Some(rustix::io::Errno::AGAIN.raw_os_error());
    assert_eq!(error.raw_os_error(), busy, "two would mix their bytes");
    drop(file);
    assert_eq!(std::fs::read(&part).unwrap(), b"first");
    let file = kept(dir.path()).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 5);
    file.discard();
    assert!(!part.exists());
    let file = kept(dir.path()).unwrap();
    (&*file).write_all(b"again").unwrap();
    file.commit().unwrap();
    assert_eq!(std::fs::read(dir.path().join("name")).unwrap(), b"again");
    assert!(!part.exists());
}

#[test]
fn what_is_kept_is_no_file_of_anybody_else() {
    let dir = tempfile::tempdir().unwrap();
    let (part, victim) = (dir.path().join("name.part"), dir.path().join("victim"));
    std::fs::write(&victim, b"precious").unwrap();
    for is_hard in [true, false] {
        if is_hard {
            std::fs::hard_link(&victim, &part).unwrap();
        } else {
            symlink(&victim, &part).unwrap();
        }
        let file = kept(dir.path()).unwrap();
        (&*file).write_all(b"other").unwrap();
        file.discard();
        assert_eq!(std::fs::read(&victim).unwrap(), b"precious");
    }
}

#[test]
fn what_cannot_be_locked_is_not_kept() {
    for errno in [Errno::NOLCK, Errno::OPNOTSUPP, Errno::NOSYS, Errno::PERM] {
        let dir = tempfile::tempdir().unwrap();
        let directory = File::open(dir.path()).unwrap();
        let sys = FaultyFiles::with(&[Failing {
            call: FileCall::Lock,
            nth: None,
            errno,
        }]);
        let options = AtomicFileOptions::new().kept("name.part");
        let begin = || {
            let name = OsStr::new("name");
            options.create_with(sys, directory.as_fd(), name).unwrap()
        };
        let file = begin();
        assert!(!file.is_kept(), "{errno}");
        assert!(!dir.path().join("name.part").exists(), "{errno}");
        (&*file).write_all(b"first").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        // What was kept while there were locks is not gone on with, and not lost.
        std::fs::write(dir.path().join("name.part"), b"other").unwrap();
        let file = begin();
        assert_eq!(file.metadata().unwrap().len(), 0, "{errno}");
        (&*file).write_all(b"all").unwrap();
        file.commit().unwrap();
        assert_eq!(std::fs::read(dir.path().join("name")).unwrap(), b"all");
        let part = std::fs::read(dir.path().join("name.part")).unwrap();
        assert_eq!(part, b"other", "{errno}");
    }
}

/// As one that was killed leaves it, which had the mode of a file that forbids writing already.
#[test]
fn what_is_kept_goes_on_though_it_forbids_writing() {
    let dir = tempfile::tempdir().unwrap();
    let part = dir.path().join("name.part");
    for (mode, left) in [(0o444, &b"first"[..]), (0o400, b"first"), (0o200, b"")] {
        std::fs::write(&part, b"first").unwrap();
        std::fs::set_permissions(&part, Permissions::from_mode(mode)).unwrap();
        // Root may write into it all the same.
        let sys = FaultyFiles::with(&[
            Failing {
                call: FileCall::Open,
                nth: Some(2),
                errno: Errno::ACCESS,
            },
            Failing {
                call: FileCall::Open,
                nth: (mode == 0o200).then_some(3).or(Some(9)),
                errno: Errno::ACCESS,
            },
        ]);
        let directory = File::open(dir.path()).unwrap();
        let options = AtomicFileOptions::new().kept("name.part");
        let name = OsStr::new("name");
        let file = options.create_with(sys, directory.as_fd(), name).unwrap();
        assert!(file.is_kept());
        assert_eq!(file.metadata().unwrap().len(), left.len() as u64);
        assert_eq!(file.metadata().unwrap().mode() & 0o600, 0o600, "{mode:o}");
        file.discard();
    }
}
