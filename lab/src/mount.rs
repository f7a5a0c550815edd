//! Loop mounts that do not outlive the lab.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Result;
use crate::run::{Invocation, run};

/// A loop mount. It is unmounted when this is dropped, also after an error or Ctrl-C.
pub(crate) struct Mount {
    point: PathBuf,
}

impl Mount {
    pub(crate) fn new(image: &Path, point: &Path) -> Result<Self> {
        // This exists before the mount does, in case a Ctrl-C comes right after the mount.
        let mount = Self {
            point: point.to_owned(),
        };
        run(&Invocation::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(point))?;
        Ok(mount)
    }

    /// Whether something is mounted here: then its device differs from that of the directory around
    /// it.
    fn is_mounted(&self) -> bool {
        let device = |path: &Path| rustix::fs::stat(path).ok().map(|stat| stat.st_dev);
        self.point
            .parent()
            .is_some_and(|around| device(&self.point) != device(around))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A second Ctrl-C ends umount and not the lab. So there are several attempts, the last one
        // with force.
        for options in [&["-q"][..], &["-q"], &["-q", "-l"]] {
            if !self.is_mounted() {
                return;
            }
            let _ = Command::new("umount")
                .args(options)
                .arg(&self.point)
                .status();
        }
        if self.is_mounted() {
            eprintln!(
                "lab: still mounted, unmount it by hand: {}",
                self.point.display()
            );
        }
    }
}
