//! Files that only their owner can read, and that appear whole or not at all.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::path::Path;

use underpass::atomic_file::{AtomicFile, AtomicFileOptions};

/// Writes a file in `dir`, whole and durably.
pub(super) fn write(dir: &Path, file: &str, content: &[u8]) -> io::Result<()> {
    let file = begin(dir, file)?;
    (&*file).write_all(content)?;
    file.commit().map_err(io::Error::other)?;
    Ok(())
}

/// Begins a file in `dir`. Nobody sees it before it is complete.
pub(super) fn begin(dir: &Path, file: &str) -> io::Result<AtomicFile> {
    let dir = File::open(dir)?;
    AtomicFileOptions::new()
        .replace(true)
        .mode(0o600)
        .create_in(&dir, OsStr::new(file))
        .map_err(io::Error::other)
}

/// `None` if there is no such file.
pub(super) fn found<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
