//! What `recv` was asked to verify and to resume: its part of the conversation with the sender.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};

use underpass::receipt::ChecksumPass;
use underpass_archive::agreement::{Answer, HELLO_LEN, Have, Hello, Offer, Offers, Report};
use underpass_archive::tar::{Note, ReadError, ReadKind, ReadMember, Reader, SparseMap, padding};
use underpass_archive::unpack::{NewFile, Refusal, There};

use super::Unpacking;
use crate::commands::agreement;
use crate::commands::checksum::{Checksum, LONG};
use crate::exit::Failure;
use crate::report;

/// What was said about the next files.
#[derive(Default)]
pub(super) struct Agreed {
    /// Where the next file goes on.
    pub(super) goes_on: Option<u64>,
    /// What there is of the files that were offered last.
    claims: HashMap<Vec<u8>, Claim>,
    /// What all hashes have cost.
    pub(super) pass: ChecksumPass,
}

/// What the sender was told about a file.
struct Claim {
    /// How much of it is there.
    length: u64,
    is_whole: bool,
    /// The hash of that much, to verify.
    checksum: Option<Checksum>,
}

impl Unpacking<'_> {
    /// Reads the sender's hello, and answers. False if the connection ended without a byte.
    pub(super) fn agree(&mut self) -> Result<bool, Failure> {
        let own = self.sink.wishes;
        let first = self.hello()?;
        if first.is_empty() {
            return Ok(false);
        }
        let hello = <&[u8; HELLO_LEN]>::try_from(&first[..]).map_or_else(
            |_| Err("it has sent no hello".to_owned()),
            |hello| Hello::read(hello).map_err(|error| error.to_string()),
        );
        let (answer, why) = match hello {
            Ok(hello) => {
                let answer = Answer::to(hello.wishes, own);
                let why = agreement::differ("send", hello.wishes, "recv", own);
                (answer, why)
            }
            Err(_) if !Hello::may_begin(&first) => {
                let why = format!(
                    "the sender was not asked for {own}; give send the same, or leave it out here"
                );
                (Answer::Differs(own), why)
            }
            Err(why) => (Answer::Unknown, why),
        };
        agreement::answer(&self.stream, answer);
        match answer {
            Answer::Agreed => Ok(true),
            _ => Err(Failure::failed(format_args!(
                "{} -> {}: {why}; nothing was received",
                self.names.0, self.names.1
            ))),
        }
    }

    /// What may be a hello: as much as comes of one.
    fn hello(&mut self) -> Result<Vec<u8>, Failure> {
        let limit = agreement::limit(self.stream.timeout());
        let patient = self.stream.clone();
        self.stream = patient.within(Some(limit));
        let mut first = Vec::new();
        let mut buffer = [0; HELLO_LEN];
        while first.len() < HELLO_LEN && Hello::may_begin(&first) {
            match self.read(&mut buffer[first.len()..]) {
                Ok(0) => break,
                Ok(count) => first.extend_from_slice(&buffer[first.len()..first.len() + count]),
                Err(error) if error.kind() == io::ErrorKind::TimedOut && !first.is_empty() => break,
                Err(error) => return Err(self.unreadable(&error.into())),
            }
        }
        let reads = self.stream.reads;
        self.stream = patient;
        self.stream.reads = reads;
        Ok(first)
    }

    /// A file is not made: what was said about it holds no longer.
    pub(super) fn forget(&mut self, path: &[u8]) {
        self.agreed.goes_on = None;
        if let Some(claim) = self.agreed.claims.remove(path)
            && claim.is_whole
        {
            self.sink.there_no_more(1, claim.length);
        }
    }

    /// The member as it is made here: a single file has the name that was given.
    pub(super) fn named(&self, member: &ReadMember) -> Result<ReadMember, Failure> {
        let mut member = member.clone();
        if let Some(name) = &self.sink.single {
            if member.kind != ReadKind::File || self.sink.counts().files > 0 {
                return Err(self.nonsense("more than a single file"));
            }
            member.path.clone_from(name);
        }
        Ok(member)
    }

    pub(super) fn note(&mut self, note: Note, member: &ReadMember) -> Result<(), Failure> {
        match note {
            Note::GoesOn => {
                let at = Note::read_goes_on(&member.path);
                let at = at.ok_or_else(|| self.nonsense("a place that is none"))?;
                self.agreed.goes_on = Some(at);
            }
            Note::Offers => {
                Offers::check_len(member.stored).map_err(|error| self.nonsense(error))?;
                let mut content = vec![0; member.stored as usize];
                let mut zeros = vec![0; padding(member.stored) as usize];
                let read = self.read_exact(&mut content);
                read.and_then(|()| self.read_exact(&mut zeros))
                    .map_err(|error| self.unreadable(&error.into()))?;
                let offers = Offers::read(&content).map_err(|error| self.nonsense(error))?;
                self.agreed.claims.clear();
                for offer in offers {
                    self.answer_offer(offer)?;
                }
                self.say(&[])?;
            }
            // The hash of a file that was refused; or nothing.
            _ if member.stored == 0 => {}
            _ => return Err(self.nonsense("a note that is too long")),
        }
        Ok(())
    }

    fn answer_offer(&mut self, mut offer: Offer) -> Result<(), Failure> {
        if let Some(name) = &self.sink.single {
            offer.path.clone_from(name);
        }
        let there = self.sink.there(&offer);
        let (file, length, is_whole) = match there {
            There::Whole(file) => (file, offer.size, true),
            There::Part(file, length) => (file, length, false),
            There::Other => {
                self.sink.refused(&offer.path, &Refusal::Exists);
                return self.say(&Have::Other.to_bytes());
            }
            There::Busy => {
                let busy = Refusal::Rule("another transfer is receiving it");
                self.sink.refused(&offer.path, &busy);
                return self.say(&Have::Other.to_bytes());
            }
            _ => return self.say(&Have::Nothing.to_bytes()),
        };
        let checksum = match self.sink.wishes.verify.then(|| self.hash(&file, length)) {
            // What cannot be read is sent again.
            Some(Err(error)) => {
                let path = String::from_utf8_lossy(&offer.path);
                report::notice(format_args!("{path}: it cannot be gone on with: {error}"));
                return self.say(&Have::Nothing.to_bytes());
            }
            Some(Ok(checksum)) => Some(checksum),
            None => None,
        };
        let hash = checksum.as_ref().map_or([0; 32], Checksum::hash);
        let have = if is_whole {
            self.sink.there_already(1, length);
            Have::Whole { hash }
        } else {
            Have::Part { length, hash }
        };
        let claim = Claim {
            length,
            is_whole,
            checksum: checksum.filter(|_| !is_whole),
        };
        self.agreed.claims.insert(offer.path, claim);
        self.say(&have.to_bytes())
    }

    /// Hashes the first bytes of a file. The sender hears from time to time that it has to wait.
    fn hash(&mut self, file: &File, length: u64) -> io::Result<Checksum> {
        let map = SparseMap::of(file, length)?;
        let mut checksum = Checksum::new();
        while checksum.at() < length {
            let to = length.min(checksum.at() + LONG);
            checksum.advance(file, map.as_ref(), to)?;
            if to < length {
                self.stream.write_all(&Have::Working.to_bytes())?;
                self.stream.flush()?;
            }
        }
        self.agreed.pass.add(&checksum.take_pass());
        Ok(checksum)
    }

    /// Whether a file has as much as the sender was told. Another program may have cut it.
    pub(super) fn can_go_on(&self, member: &ReadMember, new: &NewFile) -> bool {
        let claim = self.agreed.claims.get(&member.path);
        let told = claim.map(|claim| claim.length);
        let is = || new.file().metadata().map_or(0, |found| found.len());
        // To go on elsewhere breaks the rules, which is told later.
        let at = self.agreed.goes_on.filter(|at| Some(*at) == told);
        at.is_none_or(|at| at <= is())
    }

    /// Prepares a file for its content: cuts it where it goes on. Returns the hash of what is
    /// there, to verify.
    pub(super) fn begin(
        &mut self,
        member: &ReadMember,
        new: &NewFile,
        path: &str,
    ) -> Result<Option<Checksum>, Failure> {
        let wishes = self.sink.wishes;
        let claim = self.agreed.claims.remove(&member.path);
        let at = self.agreed.goes_on.take();
        if let Some(claim) = &claim
            && claim.is_whole
        {
            // The sender found that it is another one.
            self.sink.there_no_more(1, claim.length);
        }
        let part = claim.filter(|claim| !claim.is_whole);
        let checksum = match (at, part) {
            (None, _) => wishes.verify.then(Checksum::new),
            (Some(at), Some(part)) if at == part.length => {
                self.sink.there_already(0, at);
                part.checksum
            }
            _ => return Err(self.nonsense("the rest of a file that is not there")),
        };
        if wishes.resume {
            let cut = new.file().set_len(at.unwrap_or(0));
            cut.map_err(|error| Failure::failed(format_args!("{path}: {error}")))?;
        }
        Ok(checksum)
    }

    /// Reads the sender's hash of a file, and compares.
    pub(super) fn is_same(
        &mut self,
        path: &str,
        mut checksum: Checksum,
        reader: &mut Reader,
    ) -> Result<bool, Failure> {
        self.agreed.pass.add(&checksum.take_pass());
        let next = reader
            .next(self)
            .map_err(|error: ReadError| self.unreadable(&error))?;
        let note = next.filter(|next| next.kind == ReadKind::Note(Note::Hash));
        let hash = note.and_then(|note| Note::read_hash(&note.path));
        let Some(hash) = hash else {
            return Err(self.nonsense("a file without its hash"));
        };
        let is_same = hash == checksum.hash();
        if !is_same {
            self.sink.mismatched();
            report::notice(format_args!(
                "{path}: it arrived with other content than was sent (its BLAKE3 hash differs), and is not kept"
            ));
        }
        Ok(is_same)
    }

    /// Tells the sender what became of it.
    pub(super) fn say_report(&mut self) -> Result<(), Failure> {
        let counts = self.sink.counts();
        let made = counts.files;
        let report = Report::new(made, counts.refused, counts.mismatched, counts.files_there);
        self.say(&report.to_bytes())
    }

    /// Sends something to the sender.
    fn say(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let said = self.stream.write_all(bytes);
        said.and_then(|()| self.stream.flush())
            .map_err(|error| self.unreadable(&error.into()))
    }

    /// What the sender sent cannot be right.
    fn nonsense(&self, what: impl std::fmt::Display) -> Failure {
        Failure::failed(format_args!(
            "{} -> {}: the sender breaks the rules of --verify and --resume: {what}",
            self.names.0, self.names.1
        ))
    }
}
