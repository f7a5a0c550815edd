//! The file systems to copy on: that of `--dir`, and loop mounts of file systems that share
//! extents.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;
use tempfile::TempDir;

use crate::error::{Context, Error, Result};
use crate::mount::Mount;
use crate::program;
use crate::run::{Invocation, run};
use crate::testfile;

/// A directory to copy in. It is removed with everything below it when this is dropped.
pub(super) struct Place {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Whether its file system shares extents between files, so that a copy must be a reflink.
    pub(super) shares_extents: bool,
    // Fields are dropped in this order: it is unmounted before the directory with the mount point
    // and the image is removed.
    _mount: Option<Mount>,
    _dir: TempDir,
}

/// The file systems that can be made on a sparse image, with their mkfs arguments.
pub(super) const LOOPS: &[(&str, &[&str])] = &[
    ("btrfs", &["-q", "-f"]),
    ("xfs", &["-q", "-f", "-m", "reflink=1"]),
];

/// Names of file systems by the number that statfs reports, from linux/magic.h.
const KNOWN: &[(u64, &str)] = &[
    (0xEF53, "ext4"),
    (0x9123_683E, "btrfs"),
    (0x5846_5342, "xfs"),
    (0x0102_1994, "tmpfs"),
    (0x794C_7630, "overlay"),
    (0x2FC1_2FC1, "zfs"),
];
/// Room besides the files: for journals, duplicated metadata, and the minimum that mkfs needs.
const IMAGE_EXTRA: u64 = 1 << 30;

impl Place {
    /// Uses a directory in `dir` itself.
    pub(super) fn plain(dir: &Path, size: u64) -> Result<Self> {
        testfile::check_space(dir, size.saturating_mul(2))?;
        let dir = testfile::work_dir(dir)?;
        let kind = kind_of(dir.path())?;
        let shares_extents = ["btrfs", "xfs"].contains(&kind.as_str());
        let path = dir.path().to_owned();
        Ok(Self {
            name: format!("{kind} of --dir"),
            path,
            shares_extents,
            _mount: None,
            _dir: dir,
        })
    }

    /// Makes a new file system on a sparse image in `dir`.
    ///
    /// # Errors
    ///
    /// What this machine lacks for it.
    pub(super) fn on_loop(dir: &Path, kind: &str, mkfs_args: &[&str], size: u64) -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new("loop mounts need root"));
        }
        let mkfs = format!("mkfs.{kind}");
        let mkfs =
            program::on_path(&mkfs).ok_or_else(|| Error::new(format!("{mkfs} is not on PATH")))?;
        // Room for source, copy, and blocks of the previous copy that the file system has not freed
        // yet.
        let image_size = size.saturating_mul(3).saturating_add(IMAGE_EXTRA);
        testfile::check_space(dir, image_size)?;
        let dir = testfile::work_dir(dir)?;
        let image = testfile::make_sparse(dir.path(), "image", image_size)?;
        run(&Invocation::new(mkfs).args(mkfs_args).arg(&image))?;
        let point = dir.path().join("mount");
        fs::create_dir(&point).context(|| format!("cannot make {}", point.display()))?;
        let mount = Mount::new(&image, &point)?;
        Ok(Self {
            name: format!("{kind} on loop"),
            path: point,
            shares_extents: true,
            _mount: Some(mount),
            _dir: dir,
        })
    }
}

fn kind_of(dir: &Path) -> Result<String> {
    let magic = statfs(dir)
        .context(|| format!("cannot use {}", dir.display()))?
        .f_type as u64;
    let known = KNOWN.iter().find(|(number, _)| *number == magic);
    Ok(known.map_or_else(
        || format!("file system {magic:#x}"),
        |(_, name)| (*name).to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_place_is_gone_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::plain(dir.path(), 1).unwrap();
        let path = place.path.clone();
        assert!(path.is_dir());
        drop(place);
        assert!(!path.exists());
    }

    #[test]
    fn a_loop_mount_is_gone_when_dropped() {
        let dir = tempfile::tempdir().unwrap();
        for (kind, args) in LOOPS {
            match Place::on_loop(dir.path(), kind, args, 1 << 20) {
                Ok(place) => {
                    assert_eq!(kind_of(&place.path).unwrap(), *kind);
                    drop(place);
                    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{kind}");
                }
                Err(why) => println!("skipped: {kind}: {why}"),
            }
        }
    }
}
