//! Directories, or several files, as one tar archive.

use std::collections::VecDeque;
use std::fmt::Display;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use underpass::{EndedEarly, Part, Parts, units};
use underpass_archive::tar::{self, Member, SparseMap};
use underpass_archive::walk::{Entry, EntryKind, Walk};

use crate::args::SendArgs;
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
    /// The parts of the entry that was looked at last.
    parts: VecDeque<Part>,
    /// The file whose content is being sent.
    current: Option<Current>,
    counts: Arc<Counts>,
    ended: bool,
}

/// What was sent so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    files: AtomicU64,
    others: AtomicU64,
    /// What was left out, or not sent as it is.
    problems: AtomicU64,
}

struct Current {
    file: Arc<File>,
    path: Vec<u8>,
    size: u64,
    modified: Option<SystemTime>,
}

impl Tree {
    /// The tree that the arguments name. `None` for one file, which is sent as it is.
    pub(super) fn of(args: &SendArgs) -> Result<Option<Self>, Failure> {
        if let [only] = &args.sources[..]
            && (is_standard(only) || !only.is_dir())
        {
            let for_trees = [(args.owners, "--owners"), (args.xattrs, "--xattrs")];
            return match for_trees.iter().find(|(given, _)| *given) {
                Some((_, option)) => Err(Failure::usage(format_args!(
                    "{option} is for directories and several files; {} is sent as it is",
                    only.display()
                ))),
                None => Ok(None),
            };
        }
        if args.range.is_some() {
            return Err(Failure::usage(
                "--range is for one file; directories and several files are sent whole",
            ));
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
            parts: VecDeque::new(),
            current: None,
            counts: Arc::default(),
            ended: false,
        })
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Makes the parts of an entry. Fails if its content cannot be read.
    fn add(&mut self, entry: &Entry) -> io::Result<()> {
        let xattrs = if self.xattrs {
            entry.xattrs()?
        } else {
            Vec::new()
        };
        let member = Member::new(entry).owners(self.owners).xattrs(xattrs);
        if *entry.kind() != EntryKind::File {
            self.parts.push_back(Part::memory(member.header()));
            self.counts.others.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        let file = entry.open()?;
        let (size, allocated) = (entry.metadata().size, entry.metadata().allocated);
        let map = if allocated < size {
            SparseMap::of(&file, size)?
        } else {
            None
        };
        let whole = 0..size;
        let data = map.as_ref().map(|map| map.data().to_vec());
        let member = member.sparse(map);
        self.parts.push_back(Part::memory(member.header()));
        let file = Arc::new(file);
        for range in data.unwrap_or_else(|| vec![whole]) {
            self.parts.push_back(Part::file(Arc::clone(&file), range));
        }
        let padding = tar::padding(member.content_len()) as usize;
        self.parts.push_back(Part::memory(vec![0; padding]));
        self.current = Some(Current {
            path: entry.path().to_vec(),
            size,
            modified: file.metadata()?.modified().ok(),
            file,
        });
        self.counts.files.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Tells whether the file whose content was sent has changed meanwhile.
    fn look_back(&mut self) {
        let Some(sent) = self.current.take() else {
            return;
        };
        let now = sent.file.metadata();
        let is_same = |now: &std::fs::Metadata| {
            now.len() == sent.size && now.modified().ok() == sent.modified
        };
        if !now.as_ref().is_ok_and(is_same) {
            self.problem(&sent.path, &"it changed while it was sent");
        }
    }

    fn problem(&self, path: &[u8], why: &dyn Display) {
        self.counts.problems.fetch_add(1, Ordering::Relaxed);
        report::notice(format_args!("{}: {why}", String::from_utf8_lossy(path)));
    }

    /// Looks at the next entry. False if there is none.
    fn advance(&mut self) -> bool {
        self.look_back();
        let Some(walk) = self.roots.last_mut() else {
            return false;
        };
        match walk.next() {
            None => drop(self.roots.pop()),
            Some(Err(problem)) => self.problem(problem.path(), &problem),
            Some(Ok(entry)) => {
                if let Err(error) = self.add(&entry) {
                    self.problem(entry.path(), &error);
                }
            }
        }
        true
    }
}

impl Parts for Tree {
    fn next_part(&mut self) -> Option<Part> {
        loop {
            if let Some(part) = self.parts.pop_front() {
                return Some(part);
            }
            if !self.advance() {
                let is_first = !std::mem::replace(&mut self.ended, true);
                return is_first.then(|| Part::memory(tar::END));
            }
        }
    }

    fn ended_early(&mut self, missing: u64) -> EndedEarly {
        if let Some(sent) = self.current.take() {
            let missing = units::count(missing, "byte");
            let why = format!("it became shorter while it was sent; zeros stand for {missing}");
            self.problem(&sent.path, &why);
        }
        EndedEarly::FillWithZeros
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

    pub(super) fn problems(&self) -> u64 {
        self.problems.load(Ordering::Relaxed)
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
