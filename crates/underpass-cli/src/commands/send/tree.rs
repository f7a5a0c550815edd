//! Directories, or several files, as one tar archive.

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use underpass::receipt::ChecksumPass;
use underpass::{EndedEarly, Part, Parts, units};
use underpass_archive::tar::{self, Member, Note, SparseMap};
use underpass_archive::walk::{Entry, EntryKind, Walk};

use crate::args::SendArgs;
use crate::commands::agreement;
use crate::commands::checksum::{Checksum, WINDOW};
use crate::commands::progress;
use crate::exit::Failure;
use crate::io::files::is_standard;
use crate::report;

/// What is sent as an archive, part by part.
pub(super) struct Tree {
    /// What was named on the command line, the last one first.
    roots: Vec<Walk>,
    owners: bool,
    xattrs: bool,
    /// A hash follows each file.
    verify: bool,
    /// The parts of the entry that was looked at last.
    parts: VecDeque<Item>,
    /// The file whose content is being sent.
    current: Option<Current>,
    counts: Arc<Counts>,
    /// What all hashes have cost.
    pass: ChecksumPass,
    ended: bool,
}

/// What is sent next.
enum Item {
    Memory(Vec<u8>),
    Content(Arc<File>, Range<u64>),
    /// The hash of the current file.
    Hash,
    Flush,
}

/// The part of a file that the receiver lacks.
pub(super) struct Rest {
    start: u64,
    checksum: Option<Checksum>,
}

/// What was sent so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    files: AtomicU64,
    others: AtomicU64,
    /// Files that the receiver had already, and bytes, also of files that it had in part.
    files_there: AtomicU64,
    bytes_there: AtomicU64,
    /// What was left out, or not sent as it is.
    problems: AtomicU64,
}

struct Current {
    file: Arc<File>,
    path: Vec<u8>,
    size: u64,
    /// When it was changed last, as its header says: seconds and nanoseconds.
    modified: (i64, i64),
    checksum: Option<Checksum>,
    /// Bytes that it did not have any more.
    missing: u64,
}

impl Rest {
    /// What comes after the first bytes.
    pub(super) fn after(start: u64) -> Self {
        Self {
            start,
            checksum: None,
        }
    }

    /// `checksum` is that of the first bytes.
    pub(super) fn hashed(mut self, checksum: Checksum) -> Self {
        self.checksum = Some(checksum);
        self
    }
}

impl Tree {
    /// The tree that the arguments name. `None` for one file that is sent as it is.
    pub(super) fn of(args: &SendArgs) -> Result<Option<Self>, Failure> {
        if args.agreement.wishes(false).any() {
            let not_for_parts = [(args.range.is_some(), "--range")];
            agreement::refuse(&not_for_parts, "cannot be resumed or verified")?;
        }
        if let Some(only) = single(args) {
            let for_trees = [(args.owners, "--owners"), (args.xattrs, "--xattrs")];
            agreement::refuse(
                &for_trees,
                &format!(
                    "is for directories and several files; {} is sent as it is",
                    only.display()
                ),
            )?;
            if !args.agreement.wishes(true).any() {
                return Ok(None);
            }
            if is_standard(only) || !only.is_file() {
                if let Err(error) = std::fs::metadata(only)
                    && !is_standard(only)
                {
                    let line = format!("{}: {error}", only.display());
                    return Err(Failure::failed(line));
                }
                let options = args.agreement.wishes(true);
                return Err(Failure::usage(format_args!(
                    "{options} is for files and directories; {} is neither",
                    only.display()
                )));
            }
        } else {
            let not_for_trees = [(args.range.is_some(), "--range")];
            let why = "is for one file; directories and several files are sent whole";
            agreement::refuse(&not_for_trees, why)?;
        }
        Self::open(args).map(Some)
    }

    fn open(args: &SendArgs) -> Result<Self, Failure> {
        let mut names = Vec::new();
        let mut roots = Vec::new();
        for path in &args.sources {
            let name = name_of(path)?;
            if names.contains(&name) {
                return Err(Failure::usage(format_args!(
                    "{}: another source has the same name; what arrives could not hold both",
                    path.display()
                )));
            }
            let walk = Walk::new(path, &name);
            roots.push(walk.map_err(|e| Failure::failed(format_args!("{}: {e}", path.display())))?);
            names.push(name);
        }
        roots.reverse();
        Ok(Self {
            roots,
            owners: args.owners,
            xattrs: args.xattrs,
            verify: false,
            parts: VecDeque::new(),
            current: None,
            counts: Arc::default(),
            pass: ChecksumPass::default(),
            ended: false,
        })
    }

    /// Whether a hash follows each file.
    pub(super) fn verified(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Queues an entry: of a file that the receiver has in part, the rest.
    pub(super) fn send(&mut self, entry: &Entry, rest: Option<Rest>) {
        if let Err(error) = self.add(entry, rest) {
            self.problem(entry.path(), &error);
        }
    }

    /// Makes the parts of an entry. Fails if its content cannot be read.
    fn add(&mut self, entry: &Entry, rest: Option<Rest>) -> io::Result<()> {
        let xattrs = if self.xattrs {
            entry.xattrs()?
        } else {
            Vec::new()
        };
        let member = Member::new(entry).owners(self.owners).xattrs(xattrs);
        if *entry.kind() != EntryKind::File {
            self.queue(member.header());
            self.counts.others.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let file = entry.open()?;
        let metadata = entry.metadata();
        let size = metadata.size;
        let mut map = map(entry, &file)?;
        let mut checksum = self.verify.then(Checksum::new);
        if let Some(rest) = rest {
            map = Some(SparseMap::rest(map.as_ref(), size, rest.start));
            checksum = checksum.and(rest.checksum);
            self.counts
                .bytes_there
                .fetch_add(rest.start, Ordering::Relaxed);
            self.queue(Note::goes_on(rest.start));
        }
        let whole = 0..size;
        let data = map.as_ref().map(|map| map.data().to_vec());
        let member = member.sparse(map);
        self.queue(member.header());
        let file = Arc::new(file);
        for range in data.unwrap_or_else(|| vec![whole]) {
            self.parts
                .push_back(Item::Content(Arc::clone(&file), range));
        }
        self.queue(vec![0; tar::padding(member.content_len()) as usize]);
        if self.verify {
            self.parts.push_back(Item::Hash);
        }
        self.current = Some(Current {
            path: entry.path().to_vec(),
            size,
            modified: (metadata.mtime, metadata.mtime_nanoseconds.into()),
            file,
            checksum,
            missing: 0,
        });
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Queues bytes.
    pub(super) fn queue(&mut self, bytes: impl Into<Vec<u8>>) {
        self.parts.push_back(Item::Memory(bytes.into()));
    }

    /// What was queued is sent before anything else happens.
    pub(super) fn queue_flush(&mut self) {
        self.parts.push_back(Item::Flush);
    }

    /// The next part that was queued.
    pub(super) fn pop(&mut self) -> Option<Part> {
        Some(match self.parts.pop_front()? {
            Item::Memory(bytes) => Part::memory(bytes),
            Item::Flush => Part::flush(),
            Item::Hash => Part::memory(Note::hash(&self.take_hash())),
            Item::Content(file, mut range) => {
                if self.verify {
                    let end = range.end.min(range.start + WINDOW);
                    if end < range.end {
                        let rest = end..range.end;
                        self.parts
                            .push_front(Item::Content(Arc::clone(&file), rest));
                        range.end = end;
                    }
                    self.hash(&file, range.clone());
                }
                Part::file(file, range)
            }
        })
    }

    /// Hashes what is sent next, which brings it into the page cache.
    fn hash(&mut self, file: &File, range: Range<u64>) {
        let current = self.current.as_mut();
        let Some(checksum) = current.and_then(|current| current.checksum.as_mut()) else {
            return;
        };
        if let Err(error) = checksum.data(file, range) {
            let current = self.current.as_mut();
            let path = current.map_or_else(Vec::new, |current| {
                // Without a hash, the receiver does not keep it.
                current.checksum = None;
                current.path.clone()
            });
            self.problem(&path, &error);
        }
    }

    /// The hash of the current file; zeros if there is none.
    fn take_hash(&mut self) -> [u8; 32] {
        let current = self.current.as_mut();
        let hashed = current.and_then(|it| Some((it.checksum.take()?, it.size)));
        let Some((mut checksum, size)) = hashed else {
            return [0; 32];
        };
        checksum.zeros(size);
        self.add_pass(checksum.take_pass());
        checksum.hash()
    }

    /// What hashing has cost.
    pub(super) fn pass(&self) -> Option<ChecksumPass> {
        self.verify.then_some(self.pass)
    }

    pub(super) fn add_pass(&mut self, pass: ChecksumPass) {
        self.pass.add(&pass);
    }

    /// Counts a file that the receiver has.
    pub(super) fn there(&self, size: u64) {
        self.counts.files_there.fetch_add(1, Ordering::Relaxed);
        self.counts.bytes_there.fetch_add(size, Ordering::Relaxed);
    }

    /// Tells whether the file whose content was sent has changed meanwhile.
    pub(super) fn look_back(&mut self) {
        let Some(sent) = self.current.take() else {
            return;
        };
        if sent.missing > 0 {
            let missing = units::count(sent.missing, "byte");
            let why = format!("it became shorter while it was sent; zeros stand for {missing}");
            self.problem(&sent.path, &why);
            return;
        }
        let now = sent.file.metadata();
        let is_same = |now: &std::fs::Metadata| {
            now.len() == sent.size && (now.mtime(), now.mtime_nsec()) == sent.modified
        };
        if !now.as_ref().is_ok_and(is_same) {
            self.problem(&sent.path, &"it changed while it was sent");
        }
    }

    pub(super) fn problem(&self, path: &[u8], why: &dyn Display) {
        self.counts.problems.fetch_add(1, Ordering::Relaxed);
        report::notice(format_args!("{}: {why}", String::from_utf8_lossy(path)));
    }

    /// The next entry.
    pub(super) fn next_entry(&mut self) -> Option<Entry> {
        loop {
            match self.roots.last_mut()?.next() {
                None => drop(self.roots.pop()),
                Some(Err(problem)) => self.problem(problem.path(), &problem),
                Some(Ok(entry)) => return Some(entry),
            }
        }
    }

    /// The current file has ended early: zeros take the place of what is missing.
    pub(super) fn became_shorter(&mut self, missing: u64) -> EndedEarly {
        if let Some(current) = &mut self.current {
            current.missing += missing;
        }
        EndedEarly::FillWithZeros
    }
}

impl Parts for Tree {
    fn next_part(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.pop() {
                return Some(part);
            }
            self.look_back();
            match self.next_entry() {
                Some(entry) => self.send(&entry, None),
                None if self.ended => return None,
                None => {
                    self.ended = true;
                    self.queue(tar::END);
                }
            }
        }
    }

    fn ended_early(&mut self, missing: u64) -> EndedEarly {
        self.became_shorter(missing)
    }
}

impl Counts {
    pub(super) fn phrase(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        progress::entries(count(&self.files), count(&self.others))
    }

    /// Only the files, if there are any.
    pub(super) fn files(&self) -> String {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        progress::files(count(&self.files), count(&self.others))
    }

    /// Files that the receiver had already, and bytes.
    pub(super) fn there(&self) -> (u64, u64) {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (count(&self.files_there), count(&self.bytes_there))
    }

    pub(super) fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
    }
}

/// Where a file has data, if it has holes.
pub(super) fn map(entry: &Entry, file: &File) -> io::Result<Option<SparseMap>> {
    let (size, allocated) = (entry.metadata().size, entry.metadata().allocated);
    if allocated < size {
        SparseMap::of(file, size)
    } else {
        Ok(None)
    }
}

/// The only source, if it is no directory.
pub(super) fn single(args: &SendArgs) -> Option<&Path> {
    match &args.sources[..] {
        [only] if is_standard(only) || !only.is_dir() => Some(only),
        _ => None,
    }
}

/// What a source is called in the archive: its last component. Empty for `.`, `..` and `/`, whose
/// content then comes without a directory around it.
fn name_of(path: &Path) -> Result<Vec<u8>, Failure> {
    if is_standard(path) {
        return Err(Failure::usage("standard input can only be sent alone"));
    }
    let bytes = path.as_os_str().as_bytes();
    let name = path.file_name().filter(|_| !bytes.ends_with(b"/."));
    Ok(name.map_or_else(Vec::new, |name| name.as_bytes().to_vec()))
}

/// The sources as one name for receipts.
pub(super) fn name(sources: &[PathBuf]) -> String {
    let names: Vec<_> = sources
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    match &names[..] {
        [first, _, _, _, ..] => format!("{first} and {} more", names.len() - 1),
        few => few.join(" "),
    }
}
