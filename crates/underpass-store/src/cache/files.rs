//! The two files of one version of one object: made, or opened and read.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::SystemTime;

use super::catalog::Usage;
use super::claims::Journal;
use super::directory::{Directory, FileName};
use super::index::{self, Header, Index};

/// The files of one version, open.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) data: Arc<File>,
    pub(crate) journal: Arc<Journal>,
    /// Checksums of the blocks that an earlier run claimed. They are verified before they are sent.
    pub(crate) claimed: HashMap<u64, u64>,
    /// Whether they were made now.
    pub(crate) is_new: bool,
}

/// Opens the files of `header`'s object, or makes them if there are none or they are not good.
///
/// It makes system calls that can take a while.
pub(crate) fn open(
    directory: &Directory,
    name: FileName,
    header: &Header,
    usage: &Arc<Usage>,
) -> io::Result<Files> {
    let found = reopen(directory, name, header)?;
    let is_new = found.is_none();
    let (data, claimed) = if let Some(found) = found {
        found
    } else {
        directory.unlink(name);
        let data = directory.create(name, header.len, &header.to_bytes())?;
        (data, HashMap::new())
    };
    let data = Arc::new(data);
    let journal = Journal::new(
        Arc::clone(&data),
        directory.index(name),
        header.seal(),
        Arc::clone(usage),
    );
    Ok(Files {
        data,
        journal: Arc::new(journal),
        claimed,
        is_new,
    })
}

/// `None` if the files are not there, or not as they should be.
fn reopen(
    directory: &Directory,
    name: FileName,
    header: &Header,
) -> io::Result<Option<(File, HashMap<u64, u64>)>> {
    let path = directory.index(name);
    let (Some(bytes), Some(data)) = (
        there(fs::read(&path))?,
        there(
            OpenOptions::new()
                .read(true)
                .write(true)
                .open(directory.data(name)),
        )?,
    ) else {
        return Ok(None);
    };
    let Some(Index {
        header: found,
        claims,
        valid,
    }) = index::parse(&bytes)
    else {
        return Ok(None);
    };
    if found != *header || data.metadata()?.len() != header.len {
        return Ok(None);
    }
    let index = OpenOptions::new().write(true).open(&path)?;
    if valid < bytes.len() {
        // What a crash left of a claim. The next one must not be appended to it.
        index.set_len(valid as u64)?;
    }
    // When it was last used, for the next start.
    index.set_modified(SystemTime::now())?;
    let claimed = claims.into_iter().map(|claim| (claim.block, claim.crc));
    Ok(Some((data, claimed.collect())))
}

fn there<T>(opened: io::Result<T>) -> io::Result<Option<T>> {
    match opened {
        Ok(it) => Ok(Some(it)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether the bytes of a block on the disk have this checksum.
pub(crate) fn verify(data: &File, range: std::ops::Range<u64>, crc: u64) -> io::Result<bool> {
    match read(data, range) {
        Ok(bytes) => Ok(index::crc(&bytes) == crc),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// The bytes of a range that ends within the file.
pub(crate) fn read(data: &File, range: std::ops::Range<u64>) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    data.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes)
}
