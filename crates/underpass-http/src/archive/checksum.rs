//! Checksums of files (CRC-32), which zip has in its headers. They are kept in memory.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::{Mutex, PoisonError};

use crate::sys::{OpenFile, Version, truncated};

/// How many checksums a generation has. A hash table of this many entries is full, and takes 9 MiB.
const GENERATION: usize = (512 << 10) / 8 * 7;

/// How much of a file is read at once.
const BUFFER: usize = 128 << 10;

/// The checksums of files by their identity: device, inode, size, times of modification and change.
///
/// There are two generations. When the younger one is full, the older one is dropped, so the last
/// 458,752 checksums are always there, in at most 18 MiB.
#[derive(Default)]
pub(crate) struct Checksums {
    keys: (RandomState, RandomState),
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashMap<u64, Checksum>,
    old: HashMap<u64, Checksum>,
}

#[derive(Clone, Copy)]
struct Checksum {
    /// More bits of the identity, so that 96 in all tell files apart.
    identity: u32,
    crc: u32,
}

impl Checksums {
    /// The checksum of an open file: the known one, or it is read once. May wait.
    ///
    /// # Errors
    /// Those of reading; `UnexpectedEof` if the file is shorter than it was.
    pub(super) fn of(&self, file: &OpenFile) -> io::Result<u32> {
        let version = file.version();
        if let Some(crc) = self.get(version) {
            return Ok(crc);
        }
        let crc = read(file)?;
        if file.is_current() {
            self.put(version, crc);
        }
        Ok(crc)
    }

    /// The checksum of a file, if it is known.
    pub(super) fn get(&self, version: &Version) -> Option<u32> {
        let (key, identity) = self.key(version);
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = generations.young.get(&key) {
            return (found.identity == identity).then_some(found.crc);
        }
        let found = *generations.old.get(&key)?;
        generations.put(key, found);
        (found.identity == identity).then_some(found.crc)
    }

    /// Keeps the checksum of a file, unless it may change without a new identity.
    pub(super) fn put(&self, version: &Version, crc: u32) {
        if version.may_hide_a_change() {
            return;
        }
        let (key, identity) = self.key(version);
        let mut generations = self
            .generations
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        generations.put(key, Checksum { identity, crc });
    }

    fn key(&self, version: &Version) -> (u64, u32) {
        let Version {
            device,
            inode,
            len,
            modified,
            changed,
        } = version;
        let identity = (device, inode, len, modified, changed);
        (
            self.keys.0.hash_one(identity),
            self.keys.1.hash_one(identity) as u32,
        )
    }
}

impl Generations {
    fn put(&mut self, key: u64, checksum: Checksum) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, checksum);
    }
}

impl std::fmt::Debug for Checksums {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checksums").finish_non_exhaustive()
    }
}

fn read(file: &OpenFile) -> io::Result<u32> {
    let (mut hasher, len) = (crc32fast::Hasher::new(), file.version().len);
    let mut buffer = vec![0; BUFFER.min(len as usize)];
    let mut at = 0;
    while at < len {
        let wanted = (len - at).min(BUFFER as u64) as usize;
        match file.file().read_at(&mut buffer[..wanted], at) {
            Ok(0) => return Err(truncated(at)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finalize())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::time::{Duration, SystemTime};

    use super::*;

    /// A file that was last changed a while ago.
    fn settled(content: &[u8]) -> (tempfile::NamedTempFile, OpenFile) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        loop {
            let opened = OpenFile::new(File::open(file.path()).unwrap()).unwrap();
            if !opened.version().may_hide_a_change() {
                return (file, opened);
            }
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_checksum_is_read_once_and_belongs_to_one_version() {
        let sums = Checksums::default();
        let (file, opened) = settled(b"123456789");
        assert_eq!(sums.get(opened.version()), None);
        // The check value of the catalogue of CRCs.
        assert_eq!(sums.of(&opened).unwrap(), 0xCBF4_3926);
        assert_eq!(sums.get(opened.version()), Some(0xCBF4_3926));
        let earlier = SystemTime::now() - Duration::from_secs(60);
        file.as_file().set_modified(earlier).unwrap();
        let again = OpenFile::new(File::open(file.path()).unwrap()).unwrap();
        assert_eq!(sums.get(again.version()), None, "another version");
    }

    #[test]
    fn a_file_that_has_just_changed_is_not_remembered() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let version = *OpenFile::new(file.reopen().unwrap()).unwrap().version();
        let sums = Checksums::default();
        sums.put(&version, 7);
        let is_settled = !version.may_hide_a_change();
        assert!(is_settled || sums.get(&version).is_none());
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let (_file, opened) = settled(b"1");
        let mut version = *opened.version();
        let sums = Checksums::default();
        sums.put(&version, 7);
        let first = version;
        for _ in 0..2 * GENERATION {
            version.inode += 1;
            sums.put(&version, 8);
        }
        assert_eq!(sums.get(&first), None);
        assert_eq!(sums.get(&version), Some(8));
        let generations = sums.generations.lock().unwrap();
        assert!(generations.young.len() <= GENERATION && generations.old.len() <= GENERATION);
    }
}
