//! The file that is sent. It has no name, so nothing is left behind, however the process ends.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::statvfs;
use underpass::Endpoint;

use crate::error::{Context, Error, Result};

const CHUNK: usize = 1 << 20;
const PAGE: usize = 4096;
/// This much stays free on the file system, whatever size is asked for: filling it completely would
/// disturb its other users.
const HEADROOM: u64 = 64 << 20;
/// What to do if the file cannot be made.
const ELSEWHERE: &str = "(--dir names another directory)";

/// A file whose bytes no file system can compress or share. It is on the disk and in the page
/// cache.
#[derive(Debug)]
pub(crate) struct TestFile {
    file: File,
}

impl TestFile {
    pub(crate) fn new(directory: &Path, bytes: u64) -> Result<Self> {
        check_space(directory, bytes)?;
        let shown = directory.display();
        let file = tempfile::tempfile_in(directory)
            .context(|| format!("no file can be made in {shown} {ELSEWHERE}"))?;
        let filled = fill(&file, bytes).and_then(|()| {
            // Write-back must not happen during the measurements.
            file.sync_all()?;
            warm(&file)
        });
        filled.context(|| format!("the test file in {shown} cannot be filled {ELSEWHERE}"))?;
        Ok(Self { file })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The name of its file system, such as `ext4`.
    pub(crate) fn file_system(&self) -> &'static str {
        let found = Endpoint::of(&self.file).ok();
        let file_system = found.and_then(|endpoint| endpoint.file_system);
        let name = file_system.map(|file_system| file_system.name());
        name.unwrap_or("unknown")
    }
}

/// Whether `got` is right: bytes received from position `at` on, of a stream that repeats the first
/// `bytes` of `file`.
pub(crate) fn is_content(file: &File, bytes: u64, mut at: u64, mut got: &[u8]) -> bool {
    let mut want = vec![0; CHUNK];
    while !got.is_empty() {
        let start = at % bytes;
        let len = (bytes - start).min(got.len() as u64).min(CHUNK as u64) as usize;
        let read = file.read_exact_at(&mut want[..len], start);
        if read.is_err() || want[..len] != got[..len] {
            return false;
        }
        got = &got[len..];
        at += len as u64;
    }
    true
}

fn check_space(directory: &Path, bytes: u64) -> Result<()> {
    let shown = directory.display();
    let stats = statvfs(directory).context(|| format!("{shown} cannot be used {ELSEWHERE}"))?;
    let free = stats.f_bavail.saturating_mul(stats.f_frsize);
    if free >= bytes.saturating_add(HEADROOM) {
        return Ok(());
    }
    Err(Error::new(format!(
        "{shown} has {} MiB free, and {} MiB are needed: measure smaller sizes (--sizes, --quick) or elsewhere (--dir)",
        free >> 20,
        bytes.saturating_add(HEADROOM).div_ceil(1 << 20)
    )))
}

/// Writes random pages, each with its number, so that no two are alike.
fn fill(mut file: &File, bytes: u64) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    File::open("/dev/urandom")?.read_exact(&mut chunk)?;
    let mut at = 0;
    while at < bytes {
        for (index, page) in chunk.chunks_exact_mut(PAGE).enumerate() {
            page[..8].copy_from_slice(&(at + (index * PAGE) as u64).to_le_bytes());
        }
        let len = (bytes - at).min(CHUNK as u64);
        file.write_all(&chunk[..len as usize])?;
        at += len;
    }
    Ok(())
}

/// Reads the whole file, so that every page is in the page cache.
fn warm(file: &File) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at)? {
            0 => return Ok(()),
            count => at += count as u64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_known_and_one_wrong_byte_is_seen() {
        let test = TestFile::new(&std::env::temp_dir(), CHUNK as u64 + 5000).unwrap();
        let mut got = vec![0; 3 * PAGE];
        test.file().read_exact_at(&mut got[..PAGE], 7).unwrap();
        assert!(is_content(test.file(), 1 << 20, 7, &got[..PAGE]));
        let (first, again) = got.split_at_mut(PAGE);
        test.file().read_exact_at(first, 0).unwrap();
        again[..PAGE].copy_from_slice(first);
        assert!(is_content(
            test.file(),
            PAGE as u64,
            PAGE as u64,
            &got[..2 * PAGE]
        ));
        got[PAGE + 17] ^= 1;
        assert!(!is_content(
            test.file(),
            PAGE as u64,
            PAGE as u64,
            &got[..2 * PAGE]
        ));
    }

    #[test]
    fn no_space_is_one_line_that_says_what_to_do() {
        let line = TestFile::new(Path::new("/"), u64::MAX / 2)
            .unwrap_err()
            .to_string();
        assert!(line.contains("--dir") && !line.contains('\n'), "{line}");
        let line = TestFile::new(Path::new("/no/such"), 1)
            .unwrap_err()
            .to_string();
        assert!(line.starts_with("/no/such cannot be used (--dir"), "{line}");
    }
}
