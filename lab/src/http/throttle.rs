//! A disk that reads slowly: an ext4 image on a loop device, throttled by the blkio controller
//! (cgroup v1) for the processes of one group.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise, major, minor, stat};

use crate::error::{Context, Error, Result};
use crate::mount::Mount;
use crate::program;
use crate::run::{Invocation, run};
use crate::testfile;

const BLKIO: &str = "/sys/fs/cgroup/blkio";
/// Room besides the files: for journal and metadata.
const IMAGE_EXTRA: u64 = 256 << 20;

/// Removed when this is dropped: the group before the mount.
pub(super) struct SlowDisk {
    group: Group,
    pub(super) files: Vec<PathBuf>,
    _mount: Mount,
}

struct Group(PathBuf);

impl SlowDisk {
    /// Mounts `image` at `point` with `count` files of `size`. The processes of the group read it
    /// at `bytes_per_s`.
    ///
    /// # Errors
    ///
    /// What this machine lacks for it.
    pub(super) fn new(
        image: &Path,
        point: &Path,
        count: usize,
        size: u64,
        bytes_per_s: u64,
    ) -> Result<Self> {
        let needs = |what: &str| Error::new(format!("a throttled disk needs {what}"));
        if !rustix::process::geteuid().is_root() {
            return Err(needs("root"));
        }
        let limit = Path::new(BLKIO).join("blkio.throttle.read_bps_device");
        if !limit.exists() {
            return Err(needs(&format!("cgroup v1's blkio controller at {BLKIO}")));
        }
        let mkfs = program::on_path("mkfs.ext4").ok_or_else(|| needs("mkfs.ext4 on PATH"))?;
        let around = image.parent().unwrap_or(Path::new("/"));
        let bytes = count as u64 * size + IMAGE_EXTRA;
        testfile::check_space(around, bytes)?;
        let name = image.file_name().unwrap_or_default().to_string_lossy();
        let image = testfile::make_sparse(around, &name, bytes)?;
        run(&Invocation::new(mkfs).args(["-q", "-F"]).arg(&image))?;
        fs::create_dir(point).context(|| format!("cannot make {}", point.display()))?;
        let mount = Mount::new(&image, point)?;
        let files = (0..count).map(|at| testfile::make(point, &format!("cold-{at}"), size));
        let files = files.collect::<Result<_>>()?;
        let device = stat(point)
            .context(|| format!("cannot look at {}", point.display()))?
            .st_dev;
        let group = Group::new(&format!(
            "{}:{} {bytes_per_s}",
            major(device),
            minor(device)
        ))?;
        Ok(Self {
            group,
            files,
            _mount: mount,
        })
    }

    /// From now on, the reads of these processes are throttled.
    pub(super) fn slow_down(&self, pids: &[u32]) -> Result<()> {
        let put = |pid: &u32| self.group.write("cgroup.procs", &pid.to_string());
        pids.iter().try_for_each(put)
    }

    /// Drops the files from the page cache. The image's own pages stay cached, because only the
    /// throttle is to be slow.
    pub(super) fn make_cold(&self) -> Result<()> {
        for file in &self.files {
            // Some MiB of what a killed server has read ahead may still be on their way, and such
            // pages are not dropped. Reading the file waits for them.
            testfile::warm(file)?;
            let opened = fs::File::open(file).context(|| format!("cannot open {}", file.display()));
            fadvise(&opened?, 0, None, Advice::DontNeed)
                .context(|| format!("cannot drop {} from the page cache", file.display()))?;
        }
        Ok(())
    }
}

impl Group {
    fn new(limit: &str) -> Result<Self> {
        let path = Path::new(BLKIO).join(format!("lab-{}", std::process::id()));
        fs::create_dir(&path).context(|| format!("cannot make the group {}", path.display()))?;
        let group = Self(path);
        group.write("blkio.throttle.read_bps_device", limit)?;
        Ok(group)
    }

    fn write(&self, file: &str, what: &str) -> Result<()> {
        let path = self.0.join(file);
        fs::write(&path, what).context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group is empty by now: the servers in it have ended.
        if fs::remove_dir(&self.0).is_err() {
            eprintln!("lab: still there, remove it by hand: {}", self.0.display());
        }
    }
}
