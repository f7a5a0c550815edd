//! The bytes of an archive, as parts of a body: memory, and ranges of files.

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::vec;

use underpass::Printable;

use super::checksum::Checksums;
use super::digest::Digest;
use super::entry::Entry;
use super::plan::Plan;
use super::walk::{Found, Walk};
use crate::body::BodyPart;
use crate::file::{Content, Opened, is_missing};
use crate::sys::{OpenFile, truncated};

/// Files of less than this are read into a buffer with their headers and the files after them. The
/// others are sent from the page cache without being read.
const READ_BELOW: u64 = 64 << 10;

/// When the buffer is handed on.
const BUFFER: usize = 128 << 10;

/// Produces the bytes `range` of an archive. Every step may wait for the file system.
///
/// It ends in an error (`InvalidData`) where the directory or a file is not what was listed.
pub(crate) struct Parts {
    plan: Arc<Plan>,
    sums: Arc<Checksums>,
    range: Range<u64>,
    /// The offset in the archive of what comes next.
    at: u64,
    stage: Stage,
    buffer: Vec<u8>,
    ready: VecDeque<BodyPart>,
    /// The checksums of the entries from this number on, as far as they were sent.
    sent_sums: (u64, Vec<u32>),
}

enum Stage {
    Start,
    Members(Cursor),
    Note,
    Directory(Option<Cursor>),
    End,
    Done,
}

/// A place in the list of entries.
struct Cursor {
    walk: Walk,
    /// The number of the current segment.
    segment: usize,
    entries: vec::IntoIter<Entry>,
    /// The number of the next entry.
    index: u64,
    /// Where the header of the next entry begins in the archive.
    offset: u64,
}

impl Parts {
    /// `range` lies within the archive. Nothing is opened yet.
    pub(crate) fn new(plan: Arc<Plan>, sums: Arc<Checksums>, range: Range<u64>) -> Self {
        Self {
            plan,
            sums,
            range,
            at: 0,
            stage: Stage::Start,
            buffer: Vec::new(),
            ready: VecDeque::new(),
            sent_sums: (0, Vec::new()),
        }
    }

    /// Produces a little more.
    fn step(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Start => {
                let plan = Arc::clone(&self.plan);
                let start = self.range.start;
                self.stage = if start < plan.directory {
                    let segment = segment_at(&plan, |it| it.start <= start);
                    self.at = plan.segments[segment].start;
                    self.sent_sums.0 = plan.segments[segment].first;
                    Stage::Members(Cursor::at(&plan, segment)?)
                } else {
                    self.at = plan.directory;
                    Stage::Directory(None)
                };
            }
            Stage::Members(mut cursor) => {
                self.stage = match cursor.next(&self.plan)? {
                    Some(entry) => {
                        self.member(&entry)?;
                        Stage::Members(cursor)
                    }
                    None => Stage::Note,
                }
            }
            Stage::Note => {
                self.note();
                self.stage = Stage::Directory(None);
            }
            Stage::Directory(cursor) => self.stage = self.directory(cursor)?,
            Stage::End => {
                let plan = Arc::clone(&self.plan);
                self.put(&plan.end);
            }
            Stage::Done => {}
        }
        Ok(())
    }

    /// The next entry of the directory at the end.
    fn directory(&mut self, cursor: Option<Cursor>) -> io::Result<Stage> {
        let plan = Arc::clone(&self.plan);
        if plan.directory_len == 0 {
            return Ok(Stage::End);
        }
        let mut cursor = if let Some(cursor) = cursor {
            cursor
        } else {
            let within = self.range.start.saturating_sub(plan.directory);
            let segment = segment_at(&plan, |it| it.directory_start <= within);
            self.at = plan.directory + plan.segments[segment].directory_start;
            Cursor::at(&plan, segment)?
        };
        let (index, offset) = (cursor.index, cursor.offset);
        let Some(entry) = cursor.next(&plan)? else {
            if let Some((named, text)) = plan.named_note() {
                self.put(&named.central_header(crc32fast::hash(text.as_bytes()), offset));
            }
            return Ok(Stage::End);
        };
        let named = plan.named(&entry);
        let len = named.central_header_len(offset);
        if !self.skip(len) {
            let crc = self.sum_of(&entry, index)?;
            self.put(&named.central_header(crc, offset));
        }
        Ok(Stage::Directory(Some(cursor)))
    }

    /// The header of an entry, its content, and the zeros after it.
    fn member(&mut self, entry: &Entry) -> io::Result<()> {
        let plan = Arc::clone(&self.plan);
        let named = plan.named(entry);
        if self.skip(named.len()) {
            self.sent_sums.0 += 1;
            return Ok(());
        }
        let (size, mut crc) = (entry.size(), 0);
        let file = match size {
            0 => None,
            _ => Some(self.open(entry)?),
        };
        let mut content = None;
        if let Some(file) = file {
            if size < READ_BELOW {
                let read = read(&file).map_err(|error| self.failed(entry, &error))?;
                if plan.format().has_checksums() {
                    crc = crc32fast::hash(&read);
                    self.sums.put(file.version(), crc);
                }
                content = Some(Content::Memory(read.into()));
            } else {
                if plan.format().has_checksums() {
                    let sum = self.sums.of(&file);
                    crc = sum.map_err(|error| self.failed(entry, &error))?;
                }
                let opened = Opened::new(file, true)?;
                content = Some(opened.content);
            }
        }
        if plan.format().has_checksums() {
            self.sent_sums.1.push(crc);
        }
        self.put(&named.header(crc));
        match content {
            Some(Content::Memory(bytes)) => self.put(&bytes),
            Some(content) => self.put_file(content, size),
            None => {}
        }
        self.put(&[0; 512][..named.padding() as usize]);
        Ok(())
    }

    fn note(&mut self) {
        let plan = Arc::clone(&self.plan);
        if let Some((named, text)) = plan.named_note() {
            self.put(&named.header(crc32fast::hash(text.as_bytes())));
            self.put(text.as_bytes());
            self.put(&[0; 512][..named.padding() as usize]);
        }
    }

    /// The checksum of an entry that is not sent now.
    fn sum_of(&mut self, entry: &Entry, index: u64) -> io::Result<u32> {
        if entry.size() == 0 {
            return Ok(0);
        }
        let (first, sums) = &self.sent_sums;
        let sent = index.checked_sub(*first).map(|at| at as usize);
        if let Some(sum) = sent.and_then(|at| sums.get(at)) {
            return Ok(*sum);
        }
        if let Some(sum) = self.sums.get(&entry.version) {
            return Ok(sum);
        }
        let file = self.open(entry)?;
        let sum = self.sums.of(&file);
        let sum = sum.map_err(|error| self.failed(entry, &error))?;
        file.check(0).map_err(|error| self.failed(entry, &error))?;
        Ok(sum)
    }

    /// Opens a file if it still is what was listed.
    fn open(&self, entry: &Entry) -> io::Result<OpenFile> {
        let opened = self.plan.tree.open(&entry.path).and_then(OpenFile::new);
        let file = opened.map_err(|error| self.failed(entry, &error))?;
        if file.is_regular() && entry.is_of(file.version()) {
            return Ok(file);
        }
        Err(changed(&self.plan, &entry.path))
    }

    /// What opening or reading a file returned, with its name.
    fn failed(&self, entry: &Entry, error: &io::Error) -> io::Error {
        if is_missing(error) || error.kind() == io::ErrorKind::UnexpectedEof {
            return changed(&self.plan, &entry.path);
        }
        let path = shown(&self.plan, &entry.path);
        let message = format!("{path} could not be read while it was sent in an archive: {error}");
        io::Error::new(error.kind(), message)
    }

    /// Passes over `len` bytes if they come before the range.
    fn skip(&mut self, len: u64) -> bool {
        let is_before = self.at + len <= self.range.start;
        if is_before {
            self.at += len;
        }
        is_before
    }

    /// Which of the next `len` bytes are in the range. Passes over them.
    fn take(&mut self, len: u64) -> Range<u64> {
        let start = self.range.start.saturating_sub(self.at).min(len);
        let end = self.range.end.saturating_sub(self.at).min(len);
        self.at += len;
        start..end.max(start)
    }

    fn put(&mut self, bytes: &[u8]) {
        let Range { start, end } = self.take(bytes.len() as u64);
        self.buffer
            .extend_from_slice(&bytes[start as usize..end as usize]);
    }

    fn put_file(&mut self, content: Content, len: u64) {
        let range = self.take(len);
        if !range.is_empty() {
            self.hand_on();
            self.ready.push_back(BodyPart::of(content, range));
        }
    }

    /// Makes a part of the buffer.
    fn hand_on(&mut self) {
        if !self.buffer.is_empty() {
            let bytes = std::mem::take(&mut self.buffer);
            self.ready.push_back(BodyPart::bytes(bytes));
        }
    }
}

impl Iterator for Parts {
    type Item = io::Result<BodyPart>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(part) = self.ready.pop_front() {
                return Some(Ok(part));
            }
            let is_done = matches!(self.stage, Stage::Done) || self.at >= self.range.end;
            if self.buffer.len() >= BUFFER || is_done && !self.buffer.is_empty() {
                self.hand_on();
                continue;
            }
            if is_done {
                return None;
            }
            if let Err(error) = self.step() {
                // What is ready is of the right version, but more would not follow it.
                self.stage = Stage::Done;
                self.buffer.clear();
                return Some(Err(error));
            }
        }
    }
}

impl Cursor {
    /// A cursor at the beginning of a segment.
    fn at(plan: &Plan, segment: usize) -> io::Result<Self> {
        let start = &plan.segments[segment];
        let walk = Walk::from(Arc::clone(&plan.tree), start.after.as_ref());
        let mut cursor = Self {
            walk: walk.map_err(|error| removed(plan, error))?,
            segment,
            entries: Vec::new().into_iter(),
            index: start.first,
            offset: start.start,
        };
        cursor.load(plan)?;
        Ok(cursor)
    }

    fn next(&mut self, plan: &Plan) -> io::Result<Option<Entry>> {
        if self.entries.as_slice().is_empty() && self.segment + 1 < plan.segments.len() {
            self.segment += 1;
            self.load(plan)?;
        }
        let next = self.entries.next();
        if let Some(entry) = &next {
            self.index += 1;
            self.offset += plan.named(entry).len();
        }
        Ok(next)
    }

    /// Lists the current segment, and compares it with the plan.
    fn load(&mut self, plan: &Plan) -> io::Result<()> {
        let count = plan.entries_of(self.segment);
        let mut entries = Vec::with_capacity(count as usize);
        let mut digest = Digest::new();
        while (entries.len() as u64) < count {
            let Some(entry) = self.list(plan)? else { break };
            entry.digest(&mut digest);
            entries.push(entry);
        }
        let is_last = self.segment + 1 == plan.segments.len();
        if digest.finish() != plan.segments[self.segment].digest
            || is_last && self.list(plan)?.is_some()
        {
            return Err(changed(plan, b""));
        }
        self.entries = entries.into_iter();
        Ok(())
    }

    fn list(&mut self, plan: &Plan) -> io::Result<Option<Entry>> {
        loop {
            match self.walk.next().map_err(|error| removed(plan, error))? {
                Some(Found::Entry(entry)) => return Ok(Some(entry)),
                Some(Found::LeftOut(_)) => {}
                None => return Ok(None),
            }
        }
    }
}

/// The last segment for which `is_before` is true. There is at least one segment, that of the
/// directory itself.
fn segment_at(plan: &Plan, is_before: impl Fn(&super::plan::Segment) -> bool) -> usize {
    plan.segments.partition_point(is_before).saturating_sub(1)
}

/// The error for a directory or file that is not what was listed.
fn changed(plan: &Plan, path: &[u8]) -> io::Error {
    let path = shown(plan, path);
    let message = format!("{path} was changed while it was sent in an archive");
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn removed(plan: &Plan, error: io::Error) -> io::Error {
    if is_missing(&error) || error.kind() == io::ErrorKind::ResourceBusy {
        changed(plan, b"")
    } else {
        error
    }
}

/// A path below the served directory, for messages.
fn shown(plan: &Plan, path: &[u8]) -> String {
    let path = [&plan.tree.path[..], b"/", path].concat();
    let path = String::from_utf8_lossy(&path);
    Printable(&format!("/{}", path.trim_matches('/'))).to_string()
}

/// Reads a whole small file, of the version that was opened.
fn read(file: &OpenFile) -> io::Result<Vec<u8>> {
    let mut content = vec![0; file.version().len as usize];
    let mut at = 0;
    while at < content.len() {
        match file.file().read_at(&mut content[at..], at as u64) {
            Ok(0) => return Err(truncated(at as u64)),
            Ok(count) => at += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    file.check(0)?;
    Ok(content)
}
