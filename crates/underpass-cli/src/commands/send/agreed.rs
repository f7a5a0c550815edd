//! Sends what a receiver has agreed to: with hashes, and without what it has already.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};

use underpass::{EndedEarly, Part, Parts};
use underpass_archive::agreement::{
    ANSWER_LEN, Answer, HAVE_LEN, Have, Hello, Malformed, Offer, Offers, REPORT_LEN, Report, Wishes,
};
use underpass_archive::tar::{self, Note, SparseMap};
use underpass_archive::walk::{Entry, EntryKind};

use super::tree::{self, Rest, Tree};
use crate::commands::agreement;
use crate::commands::checksum::{Checksum, LONG};
use crate::io::PeerStream;

/// The most entries that wait for the answers about those before them.
const MOST_ENTRIES: usize = 4096;

/// A tree, and the conversation about it. What comes from the receiver is read between two parts.
pub(super) struct Agreed<'a> {
    tree: Tree,
    stream: PeerStream<'a>,
    wishes: Wishes,
    stage: Stage,
    /// Entries that were looked at, and what the receiver has of them.
    batch: VecDeque<(Entry, Have)>,
    /// An entry that did not fit into the last offers.
    left: Option<Entry>,
    /// What the receiver has of a file is being compared.
    check: Option<Check>,
    result: Result<Report, Trouble>,
}

/// What is done before the next part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Hello,
    Answer,
    Members,
    /// So many entries of the batch were offered.
    Haves(usize),
    Report,
    Over,
}

/// Why there was no report.
pub(super) enum Trouble {
    /// The connection ended before.
    Unfinished,
    /// The receiver gave up, or does not answer: why.
    NotAgreed(String),
    Io(io::Error),
    Malformed(Malformed),
}

/// A file whose first bytes the receiver seems to have.
struct Check {
    entry: Entry,
    file: File,
    map: Option<SparseMap>,
    checksum: Checksum,
    /// How many bytes, and their hash.
    length: u64,
    hash: [u8; 32],
    /// It has the file under its name.
    is_whole: bool,
}

impl<'a> Agreed<'a> {
    pub(super) fn new(tree: Tree, stream: PeerStream<'a>, wishes: Wishes) -> Self {
        Self {
            tree: tree.verified(wishes.verify),
            stream,
            wishes,
            stage: Stage::Hello,
            batch: VecDeque::new(),
            left: None,
            check: None,
            result: Err(Trouble::Unfinished),
        }
    }

    /// The receiver's report, and the tree.
    pub(super) fn finish(self) -> (Result<Report, Trouble>, Tree) {
        (self.result, self.tree)
    }

    fn try_next(&mut self) -> Result<Option<Part>, Trouble> {
        loop {
            match self.stage {
                Stage::Hello => {
                    self.stage = Stage::Answer;
                    self.tree.queue(Hello::new(self.wishes).to_bytes());
                    self.tree.queue_flush();
                }
                Stage::Answer => {
                    if let Some(part) = self.tree.pop() {
                        return Ok(Some(part));
                    }
                    self.read_answer()?;
                    self.stage = Stage::Members;
                }
                Stage::Members => {
                    if let Some(part) = self.member() {
                        return Ok(Some(part));
                    }
                }
                Stage::Haves(count) => {
                    if let Some(part) = self.tree.pop() {
                        return Ok(Some(part));
                    }
                    self.read_haves(count)?;
                    self.stage = Stage::Members;
                }
                Stage::Report => {
                    if let Some(part) = self.tree.pop() {
                        return Ok(Some(part));
                    }
                    let report = self.read::<REPORT_LEN>()?;
                    self.result = Ok(Report::read(&report)?);
                    self.stage = Stage::Over;
                }
                Stage::Over => return Ok(None),
            }
        }
    }

    fn read<const LEN: usize>(&mut self) -> io::Result<[u8; LEN]> {
        let mut bytes = [0; LEN];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn read_answer(&mut self) -> Result<(), Trouble> {
        let limit = agreement::limit(self.stream.timeout());
        let mut bytes = [0; ANSWER_LEN];
        let read = self.stream.within(Some(limit)).read_exact(&mut bytes);
        let refused = match read {
            Ok(()) => agreement::why_not(Answer::read(&bytes)?, self.wishes),
            Err(error) if is_silence(&error) => Some(format!(
                "it does not answer to {0}: only `underpass recv {0}` does",
                self.wishes
            )),
            Err(error) => return Err(error.into()),
        };
        refused.map_or(Ok(()), |why| Err(Trouble::NotAgreed(why)))
    }

    /// The next part of a member, or of what is said about one. `None`: look at the stage.
    fn member(&mut self) -> Option<Part> {
        if let Some(part) = self.tree.pop() {
            return Some(part);
        }
        self.tree.look_back();
        if self.check.is_some() {
            return self.go_on_checking();
        }
        if let Some((entry, have)) = self.batch.pop_front() {
            self.decide(entry, have);
        } else {
            self.next_batch();
        }
        None
    }

    /// Takes the next entries of the tree, and offers the files among them.
    fn next_batch(&mut self) {
        let mut offers = Offers::default();
        while let Some(entry) = self.left.take().or_else(|| self.tree.next_entry()) {
            if !self.wishes.resume || *entry.kind() != EntryKind::File {
                self.batch.push_back((entry, Have::Nothing));
                // Without offers, one after the other is sent.
                if offers.is_empty() {
                    return;
                }
                if self.batch.len() < MOST_ENTRIES {
                    continue;
                }
                break;
            }
            if !offers.push(&offer(&entry)) {
                if offers.is_empty() {
                    // Its path is too long for any offer.
                    self.batch.push_back((entry, Have::Nothing));
                } else {
                    self.left = Some(entry);
                }
                break;
            }
            self.batch.push_back((entry, Have::Working));
        }
        if !offers.is_empty() {
            self.stage = Stage::Haves(offers.len());
            self.tree.queue(offers.to_bytes());
            self.tree.queue_flush();
        } else if self.batch.is_empty() {
            self.stage = Stage::Report;
            self.tree.queue(tar::END);
            self.tree.queue_flush();
        }
    }

    fn read_haves(&mut self, count: usize) -> Result<(), Trouble> {
        let mut haves = VecDeque::with_capacity(count);
        while haves.len() < count {
            match Have::read(&self.read::<HAVE_LEN>()?)? {
                Have::Working => {}
                have => haves.push_back(have),
            }
        }
        for (_, have) in &mut self.batch {
            if *have == Have::Working {
                *have = haves.pop_front().unwrap_or(Have::Nothing);
            }
        }
        Ok(())
    }

    /// Sends an entry, or what the receiver lacks of it.
    fn decide(&mut self, entry: Entry, have: Have) {
        let size = entry.metadata().size;
        let (length, hash) = match have {
            // The receiver says so.
            Have::Other => return,
            Have::Whole { hash } => (size, hash),
            Have::Part { length, hash } if length <= size => (length, hash),
            _ => return self.tree.send(&entry, None),
        };
        if !self.wishes.verify {
            return match have {
                Have::Whole { .. } => self.tree.there(size),
                _ => self.tree.send(&entry, Some(Rest::after(length))),
            };
        }
        let opened = entry.open().and_then(|file| {
            let map = tree::map(&entry, &file)?;
            Ok((file, map))
        });
        match opened {
            Ok((file, map)) => {
                self.check = Some(Check {
                    entry,
                    file,
                    map,
                    checksum: Checksum::new(),
                    length,
                    hash,
                    is_whole: matches!(have, Have::Whole { .. }),
                });
            }
            Err(error) => self.tree.problem(entry.path(), &error),
        }
    }

    /// Hashes on. Tells the receiver that it has to wait, or decides.
    fn go_on_checking(&mut self) -> Option<Part> {
        let mut check = self.check.take()?;
        let to = check.length.min(check.checksum.at() + LONG);
        let map = check.map.as_ref();
        if let Err(error) = check.checksum.advance(&check.file, map, to) {
            self.tree.problem(check.entry.path(), &error);
            return None;
        }
        if to < check.length {
            self.check = Some(check);
            self.tree.queue_flush();
            return Some(Part::memory(Note::working()));
        }
        self.tree.add_pass(check.checksum.take_pass());
        let is_same = check.checksum.hash() == check.hash;
        match (is_same, check.is_whole) {
            (false, _) => self.tree.send(&check.entry, None),
            (true, true) => self.tree.there(check.length),
            (true, false) => {
                let rest = Rest::after(check.length).hashed(check.checksum);
                self.tree.send(&check.entry, Some(rest));
            }
        }
        None
    }
}

impl Parts for &mut Agreed<'_> {
    fn next_part(&mut self) -> Option<Part> {
        match self.try_next() {
            Ok(part) => part,
            Err(trouble) => {
                self.stage = Stage::Over;
                self.result = Err(trouble);
                None
            }
        }
    }

    fn ended_early(&mut self, missing: u64) -> EndedEarly {
        self.tree.became_shorter(missing)
    }
}

fn offer(entry: &Entry) -> Offer {
    let metadata = entry.metadata();
    let time = (metadata.mtime, metadata.mtime_nanoseconds);
    Offer::new(entry.path(), metadata.size, time)
}

/// The connection ended, or nothing came.
fn is_silence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::UnexpectedEof
    )
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Unfinished,
            _ => Self::Io(error),
        }
    }
}

impl From<Malformed> for Trouble {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}
