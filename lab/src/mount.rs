//! Loop mounts that do not outlive the lab.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::error::Result;
use crate::run::{Invocation, run};

/// A loop mount, undone when dropped: also on the way out of an error or a Ctrl-C.
pub(crate) struct Mount {
    point: PathBuf,
}

impl Mount {
    pub(crate) fn new(image: &Path, point: &Path) -> Result<Self> {
        // Exists before the mount does, for a Ctrl-C that comes right after it.
        let mount = Self {
            point: point.to_owned(),
        };
        run(&Invocation::new("mount")
            .args(["-o", "loop"])
            .arg(image)
            .arg(point))?;
        Ok(mount)
    }

    /// Whether something is mounted here: its device is not that of the directory around it.
    fn is_mounted(&self) -> bool {
        let device = |path: &Path| rustix::fs::stat(path).ok().map(|stat| stat.st_dev);
        self.point
            .parent()
            .is_some_and(|around| device(&self.point) != device(around))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // A second Ctrl-C ends the umount, not us: hence more than one try, the last by force.
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
