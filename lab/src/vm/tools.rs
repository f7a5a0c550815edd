//! The programs that make and run a machine, and the packages that contain them.

use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::program;

const TOOLS: [(&str, &str); 5] = [
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("mkfs.ext4", "e2fsprogs"),
    ("apt-get", "apt"),
    ("dpkg-deb", "dpkg"),
];

/// The path of the static busybox, if every program is there.
pub(super) fn check() -> Result<PathBuf> {
    for (tool, package) in TOOLS {
        if program::on_path(tool).is_none() {
            return Err(Error::new(format!(
                "{tool} is not on PATH: install Debian's {package} (scripts/install-test-tools)"
            )));
        }
    }
    let busybox = program::on_path("busybox").ok_or_else(|| Error::new("busybox is gone"))?;
    // The ordinary busybox is installed wherever initramfs-tools is. It needs libraries, and
    // without them the machine has no init.
    match underpass_testing::is_static(&busybox) {
        Ok(true) => Ok(busybox),
        Ok(false) => Err(Error::new(format!(
            "{} needs libraries, which the machine has not: install Debian's busybox-static in its place \
             (scripts/install-test-tools)",
            busybox.display()
        ))),
        Err(error) => Err(Error::new(format!("{}: {error}", busybox.display()))),
    }
}
