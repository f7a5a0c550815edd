//! Files to move. No file system can compress their bytes or store them as holes, and they are in
//! the page cache.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use tempfile::TempDir;

use crate::error::{Context, Error, Result};

const CHUNK: usize = 1 << 20;
/// This much stays free on the file system, whatever size is asked for: filling it completely would
/// disturb its other users.
const HEADROOM: u64 = 64 << 20;

/// Fails with one line if `dir` has no room for `bytes` more.
pub(crate) fn check_space(dir: &Path, bytes: u64) -> Result<()> {
    let stats = statvfs(dir).context(|| format!("cannot use {}", dir.display()))?;
    let free = stats.f_bavail.saturating_mul(stats.f_frsize);
    if free < bytes.saturating_add(HEADROOM) {
        let (needed, free) = (bytes >> 20, free >> 20);
        return Err(Error::new(format!(
            "no space in {}: {needed} MiB needed, {free} MiB free",
            dir.display()
        )));
    }
    Ok(())
}

/// A directory for the lab in `dir`. It is removed with everything in it when this is dropped.
pub(crate) fn work_dir(dir: &Path) -> Result<TempDir> {
    let made = tempfile::Builder::new().prefix("lab-").tempdir_in(dir);
    made.context(|| format!("cannot make a directory in {}", dir.display()))
}

/// Lets servers that change their user read what is in `dir`.
pub(crate) fn open_to_all(dir: &Path) -> Result<()> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
        .context(|| format!("cannot open {} to all", dir.display()))
}

/// Makes `dir/name` with `bytes` pseudo-random bytes, on the disk and in the page cache.
pub(crate) fn make(dir: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let path = dir.join(name);
    let written = File::create(&path).and_then(|file| {
        fill(&file, bytes)?;
        // Write-back of this file must not happen during the measurements.
        file.sync_all()
    });
    written.context(|| format!("cannot write {}", path.display()))?;
    warm(&path)?;
    Ok(path)
}

/// Makes `dir/name` with a length but without blocks.
pub(crate) fn make_sparse(dir: &Path, name: &str, bytes: u64) -> Result<PathBuf> {
    let path = dir.join(name);
    let made = File::create(&path).and_then(|file| file.set_len(bytes));
    made.context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}

/// Reads the whole file once, so that every page is in the page cache.
pub(crate) fn warm(path: &Path) -> Result<()> {
    let mut buffer = vec![0; CHUNK];
    let read = File::open(path).and_then(|mut file| {
        while file.read(&mut buffer)? != 0 {}
        Ok(())
    });
    read.context(|| format!("cannot read {}", path.display()))
}

/// Whether both files contain the same bytes.
pub(crate) fn same_content(one: &Path, other: &Path) -> Result<bool> {
    let compare = || -> std::io::Result<bool> {
        if fs::metadata(one)?.len() != fs::metadata(other)?.len() {
            return Ok(false);
        }
        let (mut one, mut other) = (File::open(one)?, File::open(other)?);
        let (mut a, mut b) = (vec![0; CHUNK], vec![0; CHUNK]);
        loop {
            let got = one.read(&mut a)?;
            if got == 0 {
                return Ok(true);
            }
            other.read_exact(&mut b[..got])?;
            if a[..got] != b[..got] {
                return Ok(false);
            }
        }
    };
    compare().context(|| format!("cannot compare {} with {}", one.display(), other.display()))
}

fn fill(mut file: &File, bytes: u64) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut left = bytes;
    while left > 0 {
        for word in chunk.chunks_exact_mut(8) {
            // xorshift64: not good random numbers, but no two chunks are alike, and nothing can be
            // compressed.
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            word.copy_from_slice(&random.to_le_bytes());
        }
        let take = left.min(CHUNK as u64);
        file.write_all(&chunk[..take as usize])?;
        left -= take;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_length_asked_for_and_tells_files_apart() {
        let dir = tempfile::tempdir().unwrap();
        let one = make(dir.path(), "one", CHUNK as u64 + 5).unwrap();
        assert_eq!(fs::metadata(&one).unwrap().len(), CHUNK as u64 + 5);
        let two = make(dir.path(), "two", CHUNK as u64 + 5).unwrap();
        assert!(same_content(&one, &two).unwrap());
        let mut bytes = fs::read(&two).unwrap();
        bytes[CHUNK + 2] ^= 1;
        fs::write(&two, bytes).unwrap();
        assert!(!same_content(&one, &two).unwrap());
        let three = make(dir.path(), "three", 7).unwrap();
        assert!(!same_content(&one, &three).unwrap());
    }

    #[test]
    fn no_space_is_one_line() {
        let message = check_space(Path::new("/"), u64::MAX)
            .unwrap_err()
            .to_string();
        assert!(
            message.starts_with("no space in /: ") && !message.contains('\n'),
            "{message}"
        );
    }
}
