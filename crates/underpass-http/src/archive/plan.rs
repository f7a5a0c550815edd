//! The plan of an archive: what one listing of the directory says about it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use super::digest::Digest;
use super::entry::Entry;
use super::format::{self, Format, Named};
use super::left_out::Note;
use super::tree::Tree;
use super::walk::{Found, Position, Walk};
use crate::sys::Version;

/// The entries of a segment. They are in memory at once while an archive is sent.
const SEGMENT: u64 = 512;

/// Changes when the bytes of an archive change for the same directory.
const LAYOUT: u64 = 1;

/// The length, tag and checkpoints of an archive.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) tree: Arc<Tree>,
    pub(super) format: Format,
    /// The name of the archived directory in the archive.
    pub(super) top: String,
    pub(super) segments: Vec<Segment>,
    /// The entries of all segments.
    pub(super) entries: u64,
    /// The note about what was left out, and its text.
    pub(super) note: Option<(Entry, String)>,
    /// Where the directory at the end begins, and its length.
    pub(super) directory: u64,
    pub(super) directory_len: u64,
    /// The end of the archive.
    pub(super) end: Vec<u8>,
    etag: String,
    left_out: u64,
}

/// A stretch of entries.
#[derive(Debug)]
pub(super) struct Segment {
    /// The entry before it; `None` for the first segment.
    pub(super) after: Option<Position>,
    /// The number of entries before it.
    pub(super) first: u64,
    /// Where its first header begins.
    pub(super) start: u64,
    /// Where its first entry in the directory at the end begins, counted from the directory's
    /// beginning.
    pub(super) directory_start: u64,
    /// The digest of its entries.
    pub(super) digest: u128,
}

/// When listing is given up.
#[derive(Clone, Debug)]
pub(crate) struct PlanLimits {
    /// The most files and directories.
    pub(crate) entries: u64,
    /// The most bytes of an archive.
    pub(crate) bytes: u64,
    /// When it has to be complete.
    pub(crate) until: Instant,
    /// Nobody waits for it any more.
    pub(crate) is_cancelled: Arc<AtomicBool>,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) enum PlanError {
    Io(io::Error),
    TooMany,
    TooLarge,
    TooLong,
}

impl From<io::Error> for PlanError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Plan {
    /// Lists `tree`. May wait for the file system, for long.
    ///
    /// # Errors
    /// Those of the file system, if nothing can be listed; a limit.
    pub(crate) fn make(
        tree: Arc<Tree>,
        format: Format,
        top: String,
        limits: &PlanLimits,
    ) -> Result<Self, PlanError> {
        let mut walk = Walk::from(Arc::clone(&tree), None)?;
        let mut list = List::new(format, top);
        while let Some(found) = walk.next()? {
            match found {
                Found::Entry(entry) => list.add(&entry),
                Found::LeftOut(left_out) => list.note.add(&left_out),
            }
            if list.entries + list.note.count() > limits.entries {
                return Err(PlanError::TooMany);
            }
            if list.len() > limits.bytes {
                return Err(PlanError::TooLarge);
            }
            if limits.is_over() {
                return Err(PlanError::TooLong);
            }
        }
        Ok(list.finish(tree))
    }

    /// The length of the archive, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.end_start() + self.end.len() as u64
    }

    /// The entity tag, with its quotes; weak if a file changed just now and may change again
    /// without a new time.
    pub(crate) fn etag(&self) -> &str {
        &self.etag
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// The name of the archived directory in the archive.
    pub(crate) fn top(&self) -> &str {
        &self.top
    }

    /// How many files and directories could not be put into the archive.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Where the end of the archive begins, behind the directory.
    pub(super) fn end_start(&self) -> u64 {
        self.directory + self.directory_len
    }

    /// The number of entries in a segment.
    pub(super) fn entries_of(&self, segment: usize) -> u64 {
        let next = self.segments.get(segment + 1);
        next.map_or(self.entries, |next| next.first) - self.segments[segment].first
    }

    pub(super) fn named<'a>(&self, entry: &'a Entry) -> Named<'a> {
        Named::new(self.format, &self.top, entry)
    }

    /// The note, as it is called in the archive: beside the archived directory, where no name of
    /// its own can be.
    pub(super) fn named_note(&self) -> Option<(Named<'_>, &str)> {
        let (entry, text) = self.note.as_ref()?;
        Some((note_named(self.format, &self.top, entry), text))
    }
}

impl PlanLimits {
    fn is_over(&self) -> bool {
        self.is_cancelled.load(Relaxed) || Instant::now() >= self.until
    }
}

fn note_named<'a>(format: Format, top: &str, entry: &'a Entry) -> Named<'a> {
    let name = format!("{top}.left-out.txt").into_bytes();
    Named {
        format,
        name,
        entry,
    }
}

/// A list of entries, while it is made.
struct List {
    format: Format,
    top: String,
    segments: Vec<Segment>,
    /// The digest of the current segment.
    digest: Digest,
    /// The digest of everything.
    whole: Digest,
    last: Option<Position>,
    /// The version of the archived directory.
    version: Option<Version>,
    entries: u64,
    /// The bytes of all entries, and of their entries in the directory at the end.
    members_len: u64,
    directory_len: u64,
    note: Note,
    is_weak: bool,
}

impl List {
    fn new(format: Format, top: String) -> Self {
        Self {
            format,
            top,
            segments: Vec::new(),
            digest: Digest::new(),
            whole: Digest::new(),
            last: None,
            version: None,
            entries: 0,
            members_len: 0,
            directory_len: 0,
            note: Note::default(),
            is_weak: false,
        }
    }

    fn len(&self) -> u64 {
        self.members_len.saturating_add(self.directory_len)
    }

    fn add(&mut self, entry: &Entry) {
        if self.entries.is_multiple_of(SEGMENT) {
            self.begin_segment();
        }
        entry.digest(&mut self.digest);
        self.is_weak |= entry.version.may_have_a_double();
        self.version.get_or_insert(entry.version);
        let named = Named::new(self.format, &self.top, entry);
        self.directory_len += named.central_header_len(self.members_len);
        self.members_len = self.members_len.saturating_add(named.len());
        self.entries += 1;
        let last = self.last.get_or_insert_with(|| Position {
            path: Vec::new(),
            is_directory: true,
        });
        last.path.clear();
        last.path.extend_from_slice(&entry.path);
        last.is_directory = entry.is_directory;
    }

    fn begin_segment(&mut self) {
        self.end_segment();
        self.segments.push(Segment {
            after: self.last.clone(),
            first: self.entries,
            start: self.members_len,
            directory_start: self.directory_len,
            digest: 0,
        });
    }

    fn end_segment(&mut self) {
        let digest = std::mem::replace(&mut self.digest, Digest::new()).finish();
        if let Some(segment) = self.segments.last_mut() {
            segment.digest = digest;
            self.whole.bytes(&digest.to_be_bytes());
        }
    }

    fn finish(mut self, tree: Arc<Tree>) -> Plan {
        self.end_segment();
        let left_out = self.note.count();
        let mut members = self.entries;
        let note = std::mem::take(&mut self.note).finish().zip(self.version);
        let note = note.map(|(text, version)| {
            let version = Version {
                len: text.len() as u64,
                ..version
            };
            let entry = Entry {
                path: Vec::new(),
                is_directory: false,
                mode: 0o644,
                version,
            };
            (entry, text)
        });
        if let Some((entry, text)) = &note {
            let named = note_named(self.format, &self.top, entry);
            self.directory_len += named.central_header_len(self.members_len);
            self.members_len += named.len();
            members += 1;
            self.whole.bytes(text.as_bytes());
        }
        self.whole.number(LAYOUT);
        self.whole.bytes(self.top.as_bytes());
        let end = format::end(self.format, members, self.members_len, self.directory_len);
        let weak = if self.is_weak { "W/" } else { "" };
        let (word, digest) = (self.format.word(), self.whole.finish());
        Plan {
            tree,
            format: self.format,
            top: self.top,
            segments: self.segments,
            entries: self.entries,
            note,
            directory: self.members_len,
            directory_len: self.directory_len,
            end,
            etag: format!("{weak}\"{word}-{digest:032x}\""),
            left_out,
        }
    }
}
