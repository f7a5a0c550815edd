//! tracefs (kernel document trace/ftrace.rst), through a mount of our own that nobody else sees: it
//! need not be mounted, and is gone with its descriptor.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The root of tracefs.
#[derive(Debug)]
pub(crate) struct Tracefs(OwnedFd);

impl Tracefs {
    /// Needs CAP_SYS_ADMIN.
    pub(crate) fn open() -> io::Result<Self> {
        let context = fsopen("tracefs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let mount = fsmount(
            &context,
            FsMountFlags::FSMOUNT_CLOEXEC,
            MountAttrFlags::empty(),
        )?;
        Ok(Self(mount))
    }

    pub(crate) fn read(&self, path: &str) -> io::Result<String> {
        let mut text = String::new();
        self.file(path, OFlags::RDONLY)?.read_to_string(&mut text)?;
        Ok(text)
    }

    /// One order to a control file that takes one a write, beside those it was given before.
    pub(crate) fn order(&self, path: &str, order: &str) -> io::Result<()> {
        let mut file = self.file(path, OFlags::WRONLY | OFlags::APPEND)?;
        file.write_all(format!("{order}\n").as_bytes())
    }

    /// The number that perf_event_open(2) knows an event by, such as `raw_syscalls/sys_enter`.
    pub(crate) fn event_id(&self, event: &str) -> io::Result<u64> {
        let text = self.read(&format!("events/{event}/id"))?;
        text.trim().parse().map_err(io::Error::other)
    }

    fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let fd = openat(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(File::from(fd))
    }
}
