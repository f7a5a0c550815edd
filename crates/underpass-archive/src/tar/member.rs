//! The header of one entry.

use tar::{EntryType, Header};

use super::pax::{self, Records};
use super::{BLOCK, SparseMap, padding};
use crate::walk::{Entry, EntryKind, Metadata};

/// The longest name and prefix of a plain header.
const NAME: usize = 100;
const PREFIX: usize = 155;

/// The largest number that 11 octal digits hold. A larger size or time goes into a pax record.
const MOST_OCTAL: u64 = 0o777_7777_7777;

/// The largest owner's number of a plain header.
const MOST_OWNER: u64 = 0o777_7777;

/// One entry of an archive: makes its header, and says how long it is.
///
/// ```
/// use underpass_archive::tar::Member;
/// use underpass_archive::walk::Walk;
///
/// let root = tempfile::tempdir()?;
/// std::fs::write(root.path().join("hello"), [7; 1000])?;
/// let entry = Walk::new(root.path(), "")?.last().unwrap()?;
/// let member = Member::new(&entry);
/// let header = member.header();
/// assert_eq!(member.content_len(), 1000);
/// assert_eq!(member.len(), header.len() as u64 + 1024);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a member is only written by its header"]
pub struct Member<'a> {
    path: &'a [u8],
    kind: &'a EntryKind,
    metadata: &'a Metadata,
    owners: bool,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    sparse: Option<SparseMap>,
}

impl<'a> Member<'a> {
    /// The member for `entry`, without owners, extended attributes and holes.
    pub fn new(entry: &'a Entry) -> Self {
        Self::of(entry.path(), entry.kind(), entry.metadata())
    }

    /// The same for something that no walk found. The path of a directory ends with a slash.
    pub fn of(path: &'a [u8], kind: &'a EntryKind, metadata: &'a Metadata) -> Self {
        Self {
            path,
            kind,
            metadata,
            owners: false,
            xattrs: Vec::new(),
            sparse: None,
        }
    }

    /// Whether the numbers of its owner and group are written.
    pub fn owners(mut self, owners: bool) -> Self {
        self.owners = owners;
        self
    }

    /// Extended attributes to be written: pairs of name and value, as [`Entry::xattrs`] returns
    /// them.
    pub fn xattrs(mut self, xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Self {
        self.xattrs = xattrs;
        self
    }

    /// The holes of a file. Only the data is then part of the archive.
    pub fn sparse(mut self, map: impl Into<Option<SparseMap>>) -> Self {
        self.sparse = map.into();
        self
    }

    /// All bytes before the content.
    pub fn header(&self) -> Vec<u8> {
        let path = self.path;
        let split = self.split(path);
        let records = self.records(path, split.is_none());
        let mut out = Vec::with_capacity(3 * BLOCK as usize);
        if !records.is_empty() {
            let name = [b"PaxHeaders/", last(path)].concat();
            let mut header = self.plain(&name[..name.len().min(NAME)], b"");
            header.set_entry_type(EntryType::XHeader);
            header.set_size(records.len());
            header.set_mode(0o644);
            append(&mut out, header);
            records.write(&mut out);
        }
        let sparse_name = self.sparse_name(path);
        let (prefix, name) = match (&sparse_name, split) {
            (Some(name), _) => (&b""[..], &name[..name.len().min(NAME)]),
            (None, Some(split)) => split,
            (None, None) => (&b""[..], &path[..path.len().min(NAME)]),
        };
        let mut header = self.plain(name, prefix);
        header.set_entry_type(self.entry_type());
        header.set_size(self.stored_len());
        if let Some(link) = self.link()
            && let Some(ustar) = header.as_ustar_mut()
        {
            let link = &link[..link.len().min(NAME)];
            ustar.linkname[..link.len()].copy_from_slice(link);
        }
        append(&mut out, header);
        if let Some(map) = &self.sparse {
            out.extend_from_slice(&map.to_bytes());
        }
        out
    }

    /// The length of the [`header`](Self::header), without making it.
    pub fn header_len(&self) -> u64 {
        let records = self.records(self.path, self.split(self.path).is_none());
        let extended = match records.len() {
            0 => 0,
            len => BLOCK + len + padding(len),
        };
        let map = self.sparse.as_ref().map_or(0, |map| map.to_bytes().len());
        extended + BLOCK + map as u64
    }

    /// How many bytes of content follow the header. The rest of the block is [`padding`].
    pub fn content_len(&self) -> u64 {
        match (self.kind, &self.sparse) {
            (EntryKind::File, Some(map)) => map.data_len(),
            (EntryKind::File, None) => self.metadata.size,
            _ => 0,
        }
    }

    /// The length of header, content and padding.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> u64 {
        let content = self.content_len();
        self.header_len() + content + padding(content)
    }

    /// What the plain header says about the length: a sparse file's map is part of it.
    fn stored_len(&self) -> u64 {
        let map = self.sparse.as_ref().map_or(0, |map| map.to_bytes().len());
        self.content_len() + map as u64
    }

    fn entry_type(&self) -> EntryType {
        match self.kind {
            EntryKind::File => EntryType::Regular,
            EntryKind::Directory => EntryType::Directory,
            EntryKind::Symlink { .. } => EntryType::Symlink,
            EntryKind::HardLink { .. } => EntryType::Link,
        }
    }

    fn link(&self) -> Option<&[u8]> {
        match self.kind {
            EntryKind::Symlink { target } => Some(target),
            EntryKind::HardLink { first } => Some(first),
            EntryKind::File | EntryKind::Directory => None,
        }
    }

    /// A header with what all headers have.
    fn plain(&self, name: &[u8], prefix: &[u8]) -> Header {
        let metadata = self.metadata;
        let mut header = Header::new_ustar();
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.name[..name.len()].copy_from_slice(name);
            ustar.prefix[..prefix.len()].copy_from_slice(prefix);
        }
        header.set_mode(metadata.mode);
        let (uid, gid) = self.owner();
        header.set_uid(uid.min(MOST_OWNER));
        header.set_gid(gid.min(MOST_OWNER));
        let mtime = u64::try_from(metadata.mtime).unwrap_or(0);
        header.set_mtime(mtime.min(MOST_OCTAL));
        header.set_device_major(0).ok();
        header.set_device_minor(0).ok();
        header
    }

    fn owner(&self) -> (u64, u64) {
        let metadata = self.metadata;
        if self.owners {
            (metadata.uid.into(), metadata.gid.into())
        } else {
            (0, 0)
        }
    }

    /// Prefix and name of a path that fits into a plain header.
    fn split<'p>(&self, path: &'p [u8]) -> Option<(&'p [u8], &'p [u8])> {
        if self.sparse.is_some() {
            return None;
        }
        if path.len() <= NAME {
            return Some((b"", path));
        }
        // The slash between the two is left out. A directory keeps the one at its end.
        let inner = path.strip_suffix(b"/").unwrap_or(path);
        let earliest = path.len().checked_sub(NAME + 1)?;
        let slash = inner
            .get(earliest..)?
            .iter()
            .position(|byte| *byte == b'/')?
            + earliest;
        (1..=PREFIX)
            .contains(&slash)
            .then(|| (&path[..slash], &path[slash + 1..]))
    }

    fn records(&self, path: &[u8], long_path: bool) -> Records {
        let mut records = Records::default();
        let metadata = self.metadata;
        let link = self.link().filter(|link| link.len() > NAME);
        let written = [long_path.then_some(path), link];
        let is_text = |bytes: &&[u8]| std::str::from_utf8(bytes).is_ok();
        if !written.iter().flatten().all(is_text) {
            records.push(b"hdrcharset", b"BINARY");
        }
        if let Some(map) = &self.sparse {
            records.push(b"GNU.sparse.major", b"1");
            records.push(b"GNU.sparse.minor", b"0");
            records.push(b"GNU.sparse.name", path);
            records.push(b"GNU.sparse.realsize", map.size().to_string().as_bytes());
        } else if long_path {
            records.push(b"path", path);
        }
        if let Some(link) = link {
            records.push(b"linkpath", link);
        }
        if self.stored_len() > MOST_OCTAL {
            records.push(b"size", self.stored_len().to_string().as_bytes());
        }
        let (uid, gid) = self.owner();
        for (key, number) in [(&b"uid"[..], uid), (b"gid", gid)] {
            if number > MOST_OWNER {
                records.push(key, number.to_string().as_bytes());
            }
        }
        let (seconds, nanoseconds) = (metadata.mtime, metadata.mtime_nanoseconds);
        if nanoseconds > 0 || !(0..=MOST_OCTAL as i64).contains(&seconds) {
            records.push(b"mtime", pax::time(seconds, nanoseconds).as_bytes());
        }
        for (name, value) in &self.xattrs {
            records.push(&[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        records
    }

    /// What programs that do not know the format call a file with holes, as GNU tar does it.
    fn sparse_name(&self, path: &[u8]) -> Option<Vec<u8>> {
        self.sparse.as_ref()?;
        let name = last(path);
        let directory = &path[..path.len() - name.len()];
        let directory = if directory.is_empty() {
            b"./"
        } else {
            directory
        };
        Some([directory, b"GNUSparseFile.0/", name].concat())
    }
}

/// The last component of a path, with the slash of a directory.
fn last(path: &[u8]) -> &[u8] {
    let inner = path.strip_suffix(b"/").unwrap_or(path);
    let slash = inner.iter().rposition(|byte| *byte == b'/');
    &path[slash.map_or(0, |slash| slash + 1)..]
}

fn append(out: &mut Vec<u8>, mut header: Header) {
    header.set_cksum();
    out.extend_from_slice(header.as_bytes());
}
