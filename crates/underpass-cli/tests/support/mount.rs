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
    /// An empty file system of `kind` in an image; `None` where this machine cannot do it.
    pub(crate) fn of(kind: &str) -> Option<Self> {
        let make = format!("mkfs.{kind}");
        if !needs::root() || !needs::tool(&make) {
            return None;
        }
        let dir = Dir::new();
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

    pub(crate) fn root(&self) -> String {
        self.dir.path("mounted")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path(&format!("mounted/{name}"))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.root();
        // A child that a failed test left behind may still hold it: then it goes when the child does.
        let _ = quiet(Command::new("umount").arg(&at))
            || quiet(Command::new("umount").args(["-l", &at]));
    }
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
