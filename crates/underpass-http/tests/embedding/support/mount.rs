//! File systems in images: a slow disk, whose reads a control group throttles, and one with a
//! coarse clock.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{major, minor};

use super::{Files, needs};

const IMAGE_BYTES: u64 = 64 << 20;
const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// A file system on a loop device. It is unmounted when this is dropped, also by a panic.
pub(crate) struct Image {
    // The directory with the mount point and the image.
    files: Files,
}

impl Image {
    /// Makes a file system with the program `mkfs` and its options. `None` if this machine cannot
    /// do it.
    pub(crate) fn mount(mkfs: &[&str]) -> Option<Self> {
        let [program, options @ ..] = mkfs else {
            return None;
        };
        if !needs::root() || !needs::tool(program) {
            return None;
        }
        let files = Files::on_disk().with("image", b"");
        let image = files.path("image");
        let file = std::fs::File::options().write(true).open(&image).unwrap();
        file.set_len(IMAGE_BYTES).unwrap();
        assert!(quiet(Command::new(program).args(options).arg(&image)));
        std::fs::create_dir(files.path("mounted")).unwrap();
        if !quiet(Command::new("mount").args(["-o", "loop", &image, &files.path("mounted")])) {
            needs::lacking("mount -o loop does not work here");
            return None;
        }
        Some(Self { files })
    }

    pub(crate) fn root(&self) -> String {
        self.files.path("mounted")
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let at = self.root();
        let _ = quiet(Command::new("umount").arg(&at))
            || quiet(Command::new("umount").args(["-l", &at]));
    }
}

/// A slow disk.
pub(crate) struct Mount {
    group: String,
    device: String,
    // This is unmounted last.
    image: Image,
}

impl Mount {
    /// `None` if this machine cannot do it.
    pub(crate) fn throttled() -> Option<Self> {
        if !Path::new(CONTROLLER)
            .join("blkio.throttle.read_bps_device")
            .exists()
        {
            needs::lacking("the blkio controller of cgroup v1 is not mounted");
            return None;
        }
        let image = Image::mount(&["mkfs.ext4", "-q", "-F"])?;
        let device = rustix::fs::stat(image.root()).unwrap().st_dev;
        let group = format!("{CONTROLLER}/underpass-test-{}", std::process::id());
        std::fs::create_dir(&group).unwrap();
        Some(Self {
            group,
            device: format!("{}:{}", major(device), minor(device)),
            image,
        })
    }

    pub(crate) fn root(&self) -> String {
        self.image.root()
    }

    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root())
    }

    /// Limits the bytes per second for the threads in [`slow_readers`](Self::slow_readers); 0 means
    /// no limit.
    pub(crate) fn limit(&self, rate: u64) {
        let file = format!("{}/blkio.throttle.read_bps_device", self.group);
        std::fs::write(file, format!("{} {rate}", self.device)).unwrap();
    }

    /// The file to which a thread writes its id, so that it and the threads that it starts read
    /// slowly.
    pub(crate) fn slow_readers(&self) -> String {
        format!("{}/tasks", self.group)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Returns the threads of the group to the main group.
        let file = format!("{}/tasks", self.group);
        for task in std::fs::read_to_string(file).unwrap_or_default().lines() {
            let _ = std::fs::write(format!("{CONTROLLER}/tasks"), task);
        }
        let _ = std::fs::remove_dir(&self.group);
    }
}

fn quiet(command: &mut Command) -> bool {
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
