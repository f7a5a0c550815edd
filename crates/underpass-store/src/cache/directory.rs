//! The directory of a cache: who uses it, what is in it, and what is left over from a crash.
//!
//! ```text
//! DIR/underpass-0/lock          locked by the process that uses underpass-0
//! DIR/underpass-0/v2/ab/abcd….data    a sparse file as long as its object
//! DIR/underpass-0/v2/ab/abcd….index   the blocks of it that are there
//! DIR/underpass-1/…             of a second process with the same DIR
//! ```
//!
//! Names of files are hashes, so no key can name a file elsewhere: half of a name is the key's, the
//! other half the version's.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

use crate::error::StoreError;

/// What is in the files, and how. Another version's are removed.
const FORMAT: &str = "v2";
/// As many processes can use one directory.
const SLOTS: usize = 16;

/// A part of the cache's directory that this process alone uses.
#[derive(Debug)]
pub(crate) struct Directory {
    root: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

/// Of the bytes of a name.
const HALF: usize = 16;

/// The name of the two files of one version of one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FileName([u8; 32]);

/// A file that was there when the cache was opened.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) name: FileName,
    /// On the disk.
    pub(crate) bytes: u64,
    /// Before now.
    pub(crate) unused: Duration,
}

impl FileName {
    /// The name for a version, which `tag` tells from others, of an object of a store.
    pub(crate) fn of(store: &str, key: &str, tag: &str) -> Self {
        let (key, version) = (half(&[store, key]), half(&[store, key, tag]));
        let mut name = [0; 32];
        name[..HALF].copy_from_slice(&key);
        name[HALF..].copy_from_slice(&version);
        Self(name)
    }

    /// Names of the versions of an object, and no others.
    pub(crate) fn all_of(store: &str, key: &str) -> RangeInclusive<Self> {
        let end = |byte| {
            let mut name = [byte; 32];
            name[..HALF].copy_from_slice(&half(&[store, key]));
            Self(name)
        };
        end(0)..=end(u8::MAX)
    }

    /// A number below `shards`, the same for the same name.
    pub(crate) fn shard(self, shards: usize) -> usize {
        usize::from(self.0[0]) % shards
    }

    fn parse(text: &str) -> Option<Self> {
        let hash = blake3::Hash::from_hex(text).ok()?;
        Some(Self(*hash.as_bytes()))
    }

    fn text(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// A hash of `parts`. Whether a file is what its name says is seen by its index.
fn half(parts: &[&str]) -> [u8; HALF] {
    let mut hash = blake3::Hasher::new();
    for part in parts {
        // With its length, or ("ab", "c") would be ("a", "bc").
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    let mut half = [0; HALF];
    hash.finalize_xof().fill(&mut half);
    half
}

impl Directory {
    /// Takes the first part of `path` that no other process uses, and removes what is left over in
    /// it from another version or a crash. `warn` is told what a user should know.
    ///
    /// # Errors
    ///
    /// The directory cannot be made or written, or 16 processes use it.
    pub(crate) fn open(path: &Path, warn: &dyn Fn(&str)) -> Result<Self, StoreError> {
        let shown = path.display();
        let failed =
            |error: io::Error| StoreError::disk(&format!("cannot use the cache {shown}"), &error);
        make_directory(path).map_err(failed)?;
        for slot in 0..SLOTS {
            let slot = path.join(format!("underpass-{slot}"));
            let Some(lock) = lock(&slot).map_err(failed)? else {
                continue;
            };
            if slot.file_name().is_some_and(|name| name != "underpass-0") {
                let slot = slot.display();
                warn(&format!(
                    "another process uses the cache {shown}; this one uses {slot}, which may take as much room again"
                ));
            }
            remove_other_versions(&slot, warn).map_err(failed)?;
            let root = slot.join(FORMAT);
            make_directory(&root).map_err(failed)?;
            return Ok(Self { root, _lock: lock });
        }
        let error = io::Error::new(ErrorKind::ResourceBusy, format!("{SLOTS} processes use it"));
        Err(failed(error))
    }

    pub(crate) fn data(&self, name: FileName) -> PathBuf {
        self.file(name, "data")
    }

    pub(crate) fn index(&self, name: FileName) -> PathBuf {
        self.file(name, "index")
    }

    fn file(&self, name: FileName, kind: &str) -> PathBuf {
        let text = name.text();
        self.root.join(&text[..2]).join(format!("{text}.{kind}"))
    }

    /// Makes both files: the data as long as the object and all of it a hole, then the index. The
    /// data file is returned, open for reading and writing.
    pub(crate) fn create(&self, name: FileName, len: u64, header: &[u8]) -> io::Result<File> {
        let (data, index) = (self.data(name), self.index(name));
        if let Some(parent) = data.parent() {
            make_directory(parent)?;
        }
        let file = exclusive(&data)?;
        file.set_len(len)?;
        let new = index.with_extension("new");
        exclusive(&new)?.write_all(header)?;
        fs::rename(&new, &index)?;
        Ok(file)
    }

    /// Removes the names of both files. Whoever has the data open still reads it, whole.
    pub(crate) fn unlink(&self, name: FileName) {
        for file in [self.index(name), self.data(name)] {
            // What is not there, or cannot be removed, is found again at the next start.
            let _ = fs::remove_file(file);
        }
    }

    /// What is there. Files without their other half, and temporary ones, are removed.
    pub(crate) fn scan(&self) -> io::Result<Vec<Found>> {
        let mut found = Vec::new();
        for folder in fs::read_dir(&self.root)? {
            let folder = folder?.path();
            let Ok(files) = fs::read_dir(&folder) else {
                continue;
            };
            for file in files {
                let file = file?.path();
                match self.inspect(&file) {
                    Some(Kept::Pair(pair)) => found.push(pair),
                    Some(Kept::Half) => {}
                    None => fs::remove_file(&file)?,
                }
            }
        }
        Ok(found)
    }

    /// What a file is: a pair's data, a pair's index, or nothing to keep.
    fn inspect(&self, file: &Path) -> Option<Kept> {
        let name = FileName::parse(file.file_stem()?.to_str()?)?;
        let (data, index) = (self.data(name), self.index(name));
        if file == index {
            return data.exists().then_some(Kept::Half);
        }
        if file != data {
            return None;
        }
        let used = fs::metadata(&index).ok()?.modified().ok()?;
        let unused = SystemTime::now().duration_since(used).unwrap_or_default();
        // st_blocks counts 512 bytes, whatever the file system's blocks are: stat(2).
        let blocks = fs::metadata(&data).ok()?.blocks() + fs::metadata(&index).ok()?.blocks();
        let bytes = blocks * 512;
        Some(Kept::Pair(Found {
            name,
            bytes,
            unused,
        }))
    }
}

enum Kept {
    Pair(Found),
    Half,
}

/// Only this user reads what is in a cache.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn exclusive(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    match options.open(path) {
        // Nothing that is in the cache has this name, so it is left over.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            options.open(path)
        }
        other => other,
    }
}

/// `None` if another process has it.
fn lock(slot: &Path) -> io::Result<Option<File>> {
    make_directory(slot)?;
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(slot.join("lock"))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn remove_other_versions(slot: &Path, warn: &dyn Fn(&str)) -> io::Result<()> {
    for entry in fs::read_dir(slot)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        let version = name
            .strip_prefix('v')
            .is_some_and(|it| it.parse::<u32>().is_ok());
        if version && name != FORMAT {
            warn(&format!(
                "{} is of another version of underpass, and is removed; objects are fetched again",
                path.display()
            ));
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn open(path: &Path) -> (Directory, Vec<String>) {
        let lines = std::cell::RefCell::new(Vec::new());
        let directory =
            Directory::open(path, &|line| lines.borrow_mut().push(line.into())).unwrap();
        (directory, lines.into_inner())
    }

    #[test]
    fn a_second_user_gets_a_place_beside_the_first() {
        let path = tempfile::tempdir().unwrap();
        let (first, lines) = open(path.path());
        assert!(lines.is_empty(), "{lines:?}");
        let (second, lines) = open(path.path());
        assert_ne!(first.root, second.root);
        assert!(
            lines[0].contains("another process uses the cache"),
            "{lines:?}"
        );
        drop(first);
        let (third, lines) = open(path.path());
        assert!(third.root.ends_with("underpass-0/v2") && lines.is_empty());
    }

    #[test]
    fn what_another_version_left_is_removed() {
        let path = tempfile::tempdir().unwrap();
        let old = path.path().join("underpass-0/v0/ab");
        fs::create_dir_all(&old).unwrap();
        let other = path.path().join("underpass-0/vacation");
        fs::write(&other, "mine").unwrap();
        let (_directory, lines) = open(path.path());
        assert!(!old.exists() && other.exists());
        assert!(lines[0].contains("another version"), "{lines:?}");
    }

    #[test]
    fn halves_and_temporary_files_are_removed() {
        let path = tempfile::tempdir().unwrap();
        let (directory, _) = open(path.path());
        let names = ["whole", "no data", "no index"].map(|name| FileName::of("store", name, "tag"));
        for name in names {
            directory.create(name, 1 << 40, b"header").unwrap();
        }
        fs::remove_file(directory.data(names[1])).unwrap();
        fs::remove_file(directory.index(names[2])).unwrap();
        let new = directory.index(names[0]).with_extension("new");
        let strange = new.with_file_name("strange");
        fs::write(&new, "").unwrap();
        fs::write(&strange, "").unwrap();
        let found = directory.scan().unwrap();
        assert_eq!(
            found.iter().map(|it| it.name).collect::<Vec<_>>(),
            [names[0]]
        );
        assert!(
            found[0].bytes < 1 << 20,
            "a hole of a tebibyte takes no room"
        );
        let left = [
            directory.index(names[1]),
            directory.data(names[2]),
            new,
            strange,
        ];
        assert!(left.iter().all(|file| !file.exists()), "{left:?}");
    }

    proptest! {
        /// No key names a file outside the directory, and no two keys name the same.
        #[test]
        fn names_stay_inside(one in ".{0,40}", other in ".{0,40}", tag in ".{0,9}") {
            let path = tempfile::tempdir().unwrap();
            let (directory, _) = open(path.path());
            let name = |key: &str| FileName::of("store", key, &tag);
            let file = directory.data(name(&one));
            let below = file.strip_prefix(&directory.root).unwrap().to_str().unwrap();
            prop_assert!(below.bytes().all(|it| it.is_ascii_hexdigit() || b"/.data".contains(&it)));
            prop_assert!(!below.contains(".."));
            prop_assert_eq!(name(&one) == name(&other), one == other);
            let all = FileName::all_of("store", &one);
            prop_assert!(all.contains(&name(&one)));
            prop_assert_eq!(all.contains(&name(&other)), one == other);
        }
    }
}
