//! tracefs (kernel document trace/ftrace.rst), through a mount of our own that nobody else sees. So
//! it need not be mounted already, and the mount is gone with its descriptor.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags, openat};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// The root of tracefs.
#[derive(Debug)]
pub(crate) struct Tracefs(OwnedFd);

impl Tracefs {
    /// Opens it. Needs CAP_SYS_ADMIN.
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

    /// Writes one command to a control file that takes one command per write, and keeps the earlier
    /// ones.
    pub(crate) fn order(&self, path: &str, order: &str) -> io::Result<()> {
        let mut file = self.file(path, OFlags::WRONLY | OFlags::APPEND)?;
        file.write_all(format!("{order}\n").as_bytes())
    }

    /// The number by which perf_event_open(2) knows an event such as `raw_syscalls/sys_enter`.
    pub(crate) fn event_id(&self, event: &str) -> io::Result<u64> {
        let text = self.read(&format!("events/{event}/id"))?;
        text.trim().parse().map_err(io::Error::other)
    }

    fn file(&self, path: &str, flags: OFlags) -> io::Result<File> {
        let fd = openat(&self.0, path, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(File::from(fd))
    }
}
