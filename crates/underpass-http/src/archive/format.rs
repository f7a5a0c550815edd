//! The two formats: what comes before and after the content of each file, and at the end.

use underpass_archive::walk::{EntryKind, Metadata};
use underpass_archive::{tar, zip};

use super::entry::Entry;

/// A format of archives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A tar archive, with pax records only where the plain header is too small.
    Tar,
    /// A zip archive whose files are stored, not compressed.
    Zip,
}

/// One entry, as it is called in the archive.
pub(super) struct Named<'a> {
    pub(super) format: Format,
    /// The path in the archive; that of a directory ends with a slash.
    pub(super) name: Vec<u8>,
    pub(super) entry: &'a Entry,
}

impl Format {
    /// The format that a query asks for; `None` if the word means none.
    pub(crate) fn from_word(word: &str) -> Option<Self> {
        match word {
            "tar" => Some(Self::Tar),
            "zip" => Some(Self::Zip),
            _ => None,
        }
    }

    /// Its word in a query, which is also the extension of its files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Zip => "zip",
        }
    }

    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Tar => "application/x-tar",
            Self::Zip => "application/zip",
        }
    }

    /// Whether its headers contain checksums, so that files have to be read.
    pub(crate) fn has_checksums(self) -> bool {
        self == Self::Zip
    }
}

impl<'a> Named<'a> {
    /// `top` is the name of the archived directory.
    pub(super) fn new(format: Format, top: &str, entry: &'a Entry) -> Self {
        let mut name = Vec::with_capacity(top.len() + entry.path.len() + 2);
        name.extend_from_slice(top.as_bytes());
        if !entry.path.is_empty() {
            name.push(b'/');
            name.extend_from_slice(&entry.path);
        }
        if entry.is_directory {
            name.push(b'/');
        }
        Self {
            format,
            name,
            entry,
        }
    }

    /// What comes before the content, whose checksum is `crc`.
    pub(super) fn header(&self, crc: u32) -> Vec<u8> {
        match self.format {
            Format::Tar => {
                let (kind, metadata) = self.tar();
                tar::Member::of(&self.name, &kind, &metadata).header()
            }
            Format::Zip => self.zip().local_header(crc),
        }
    }

    pub(super) fn header_len(&self) -> u64 {
        match self.format {
            Format::Tar => {
                let (kind, metadata) = self.tar();
                tar::Member::of(&self.name, &kind, &metadata).header_len()
            }
            Format::Zip => self.zip().local_header_len(),
        }
    }

    /// How many zeros come after the content.
    pub(super) fn padding(&self) -> u64 {
        match self.format {
            Format::Tar => tar::padding(self.entry.size()),
            Format::Zip => 0,
        }
    }

    /// The length of header, content and padding.
    pub(super) fn len(&self) -> u64 {
        self.header_len() + self.entry.size() + self.padding()
    }

    /// Its entry in the directory at the end of the archive: nothing for tar. `offset` is where its
    /// header begins.
    pub(super) fn central_header(&self, crc: u32, offset: u64) -> Vec<u8> {
        match self.format {
            Format::Tar => Vec::new(),
            Format::Zip => self.zip().central_header(crc, offset),
        }
    }

    pub(super) fn central_header_len(&self, offset: u64) -> u64 {
        match self.format {
            Format::Tar => 0,
            Format::Zip => self.zip().central_header_len(offset),
        }
    }

    /// Times in whole seconds: they need no pax record, so a file takes one block and not three.
    fn tar(&self) -> (EntryKind, Metadata) {
        let mut metadata = Metadata::default();
        metadata.size = self.entry.size();
        metadata.mode = self.entry.mode;
        metadata.mtime = self.entry.version.modified.0;
        let kind = if self.entry.is_directory {
            EntryKind::Directory
        } else {
            EntryKind::File
        };
        (kind, metadata)
    }

    fn zip(&self) -> zip::Member<'_> {
        zip::Member {
            name: &self.name,
            size: self.entry.size(),
            mode: self.entry.mode,
            mtime: self.entry.version.modified.0,
        }
    }
}

/// The end of an archive of this many members. `offset` and `len` are those of the directory.
pub(super) fn end(format: Format, members: u64, offset: u64, len: u64) -> Vec<u8> {
    match format {
        Format::Tar => tar::END.to_vec(),
        Format::Zip => zip::end(members, offset, len),
    }
}
