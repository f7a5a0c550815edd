//! A slow disk: ext4 on a loop device, whose reads a control group throttles.

use std::path::Path;
use std::process::{Command, Stdio};

use rustix::fs::{major, minor};

use super::{Files, needs};

const IMAGE_BYTES: u64 = 64 << 20;
const CONTROLLER: &str = "/sys/fs/cgroup/blkio";

/// Unmounted when dropped, also by a panic.
pub(crate) struct Mount {
    group: String,
    device: String,
    // Dropped last: it holds the mount point and the image.
    files: Files,
}

impl Mount {
    /// `None` where this machine cannot do it.
    pub(crate) fn throttled() -> Option<Self> {
        if !needs::root() || !needs::tool("mkfs.ext4") {
            return None;
        }
        if !Path::new(CONTROLLER)
            .join("blkio.throttle.read_bps_device")
            .exists()
        {
            needs::lacking("the blkio controller of cgroup v1 is not mounted");
            return None;
        }
        let files = Files::on_disk().with("image", b"");
        let image = files.path("image");
        let file = std::fs::File::options().write(true).open(&image).unwrap();
        file.set_len(IMAGE_BYTES).unwrap();
        assert!(quiet(Command::new("mkfs.ext4").args(["-q", "-F", &image])));
        std::fs::create_dir(files.path("mounted")).unwrap();
        if !quiet(Command::new("mount").args(["-o", "loop", &image, &files.path("mounted")])) {
            needs::lacking("mount -o loop does not work here");
            return None;
        }
        let device = rustix::fs::stat(files.path("mounted")).unwrap().st_dev;
        let group = format!("{CONTROLLER}/underpass-test-{}", std::process::id());
        std::fs::create_dir(&group).unwrap();
        Some(Self {
            group,
            device: format!("{}:{}", major(device), minor(device)),
            files,
        })
    }

    pub(crate) fn root(&self) -> String {
        self.files.path("mounted")
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.files.path(&format!("mounted/{name}"))
    }

    /// Bytes a second for the threads that [`slow_readers`](Self::slow_readers); 0 for as many as it gives.
    pub(crate) fn limit(&self, rate: u64) {
        let file = format!("{}/blkio.throttle.read_bps_device", self.group);
        std::fs::write(file, format!("{} {rate}", self.device)).unwrap();
    }

    /// For the thread that is to read slowly, and those that it will start: writes its id here.
    pub(crate) fn slow_readers(&self) -> String {
        format!("{}/tasks", self.group)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let at = self.root();
        let _ = quiet(Command::new("umount").arg(&at))
            || quiet(Command::new("umount").args(["-l", &at]));
        // Threads of the group go back to where the others are.
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
