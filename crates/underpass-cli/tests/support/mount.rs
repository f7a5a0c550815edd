//! File systems made for one test.

use std::process::{Command, Stdio};

use super::{Dir, needs};

/// Large enough for the smallest XFS that mkfs.xfs makes.
const IMAGE_BYTES: u64 = 320 << 20;

/// A mounted file system, unmounted when dropped, also by a panic.
pub(crate) struct Mount {
    // Dropped after the unmount: it holds the mount point and the image.
    dir: Dir,
}

impl Mount {
    /// An empty file system of `kind` in an image; `None` if this machine cannot do it.
    pub(crate) fn of(kind: &str) -> Option<Self> {
        let make = format!("mkfs.{kind}");
        if !needs::root() || !needs::tool(&make) {
            return None;
        }
        // The image is in memory. Otherwise each sync would wait for whatever else this machine
        // writes to its disk.
        let dir = Dir::in_memory();
        let image = dir.path("image");
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(IMAGE_BYTES).unwrap();
        let formatted = quiet(Command::new(&make).args(["-q", &image]));
        assert!(formatted, "{make} failed");
        Self::at_new_place(dir, &["-t", kind, "-o", "loop", &image])
    }

    /// A file system in memory with its own limits.
    pub(crate) fn tmpfs(options: &str) -> Option<Self> {
        if !needs::root() {
            return None;
        }
        Self::at_new_place(Dir::new(), &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    fn at_new_place(dir: Dir, args: &[&str]) -> Option<Self> {
        std::fs::create_dir(dir.path("mounted")).unwrap();
        let at = dir.path("mounted");
        if !quiet(Command::new("mount").args(args).arg(&at)) {
            needs::lacking(&format!("mount {} does not work here", args.join(" ")));
            return None;
        }
        Some(Self { dir })
    }

    /// Cuts the power: afterwards, only what had reached the disk is there. Returns `false` if this
    /// machine cannot do it.
    pub(crate) fn cut_power(&self) -> bool {
        let (at, image) = (self.root(), self.dir.path("image"));
        if !needs::tool("xfs_io") {
            return false;
        }
        // FS_IOC_SHUTDOWN without flushing the log; ext4 supports it too.
        let cut = quiet(Command::new("xfs_io").args(["-x", "-c", "shutdown", &at]));
        assert!(cut, "the file system goes on");
        assert!(quiet(Command::new("umount").arg(&at)), "{at} is in use");
        // Another process may have a copy of all mounts, and so keep the old file system there. Its
        // disk as it was at the cut is another disk, and nothing is written to it any more.
        let disk = self.dir.path("disk");
        let copied = quiet(Command::new("cp").args(["--sparse=always", &image, &disk]));
        assert!(copied, "{image} cannot be copied");
        std::fs::rename(disk, &image).unwrap();
        // XFS refuses a disk with the number of one that is mounted, unless told not to look.
        let mounted = ["loop", "loop,nouuid"]
            .iter()
            .any(|options| quiet(Command::new("mount").args(["-o", options, &image, &at])));
        assert!(mounted, "{image} cannot be mounted again");
        true
    }

    /// Makes the file `from` visible at `to`, as `mount --bind` does, until the returned value is
    /// dropped.
    pub(crate) fn bind(from: &str, to: &str) -> Option<Bound> {
        if !needs::root() {
            return None;
        }
        if !quiet(Command::new("mount").args(["--bind", from, to])) {
            needs::lacking("mount --bind does not work here");
            return None;
        }
        Some(Bound(to.to_owned()))
    }

    pub(crate) fn root(&self) -> String {
        self.dir.path("mounted")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path(&format!("mounted/{name}"))
    }
}

/// A block device backed by a file. It is removed when this is dropped.
pub(crate) struct LoopDevice(pub(crate) String);

impl LoopDevice {
    pub(crate) fn of(image: &str) -> Option<Self> {
        if !needs::root() || !needs::tool("losetup") {
            return None;
        }
        let mut command = Command::new("losetup");
        let made = command.args(["--find", "--show", image]).output().unwrap();
        if !made.status.success() {
            needs::lacking("losetup does not work here");
            return None;
        }
        let name = String::from_utf8(made.stdout).unwrap();
        Some(Self(name.trim_end().to_owned()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = quiet(Command::new("losetup").args(["--detach", &self.0]));
    }
}

/// A file that is bind-mounted over another.
pub(crate) struct Bound(String);

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = quiet(Command::new("umount").arg(&self.0));
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.root();
        // A child of a failed test may still hold it. Then it goes when the child ends.
        let _ = quiet(Command::new("umount").arg(&at))
            || quiet(Command::new("umount").args(["-l", &at]));
    }
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
