//! Where what is received is unpacked: a directory, or a single file.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use underpass::units;
use underpass_archive::agreement::{Offer, Wishes};
use underpass_archive::unpack::{Destination, NewFile, Refusal, There};

use crate::args::RecvArgs;
use crate::commands::agreement;
use crate::commands::progress;
use crate::exit::Failure;
use crate::io::files::{directory_of, is_descriptor, is_standard};
use crate::report;

/// A directory into which an archive is unpacked.
pub(super) struct TreeSink {
    path: PathBuf,
    /// Of a single file: its name in the directory.
    pub(super) single: Option<Vec<u8>>,
    pub(super) wishes: Wishes,
    pub(super) destination: RefCell<Option<Destination>>,
    counts: Cell<Counts>,
    /// It was said that nothing stays of files that break off.
    told_unkept: Cell<bool>,
}

/// What was made so far.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) files: u64,
    pub(super) others: u64,
    pub(super) refused: u64,
    /// What lacks its owner or extended attributes.
    pub(super) lacking: u64,
    /// Files with another hash than the sender's.
    pub(super) mismatched: u64,
    /// Files that were there already, and bytes, also of files that were there in part.
    pub(super) files_there: u64,
    pub(super) bytes_there: u64,
}

impl TreeSink {
    /// The directory that the arguments name, if they do: one that exists, or a name with a slash
    /// at its end.
    pub(super) fn of(args: &RecvArgs) -> Result<Option<Self>, Failure> {
        let path = &args.sink;
        if path.as_os_str().as_bytes().ends_with(b"/") || path.is_dir() {
            let only_files = [
                (args.writing.in_place, "--in-place"),
                (args.expect.is_some(), "--expect"),
                (args.allow_empty, "--allow-empty"),
            ];
            let shown = path.display();
            let why = format!("is for a file; an archive is unpacked into {shown}");
            agreement::refuse(&only_files, &why)?;
            return Self::open(args, path, None).map(Some);
        }
        if !args.agreement.wishes(true).any() {
            return Ok(None);
        }
        let only_plain = [
            (args.writing.in_place, "--in-place"),
            (args.expect.is_some(), "--expect"),
            (args.owners, "--owners"),
            (args.xattrs, "--xattrs"),
        ];
        let wishes = args.agreement.wishes(true);
        agreement::refuse(&only_plain, &format!("does not go with {wishes} of a file"))?;
        let name = path.file_name().filter(|_| !is_standard(path));
        let (Some(name), false) = (name, is_descriptor(path)) else {
            return Err(Failure::usage(format_args!(
                "{wishes} is for files and directories; {} is neither",
                path.display()
            )));
        };
        // One that is there may be the one that is to come, if that is asked for.
        if !wishes.resume && !args.writing.force && path.symlink_metadata().is_ok() {
            return Err(Failure::failed(format_args!(
                "{}: exists; --force replaces it",
                path.display()
            )));
        }
        let name = name.as_bytes().to_vec();
        Self::open(args, directory_of(path), Some(name)).map(Some)
    }

    fn open(args: &RecvArgs, directory: &Path, single: Option<Vec<u8>>) -> Result<Self, Failure> {
        if single.is_some() && !directory.is_dir() {
            return Err(Failure::failed(format_args!(
                "{}: there is no such directory",
                directory.display()
            )));
        }
        let destination = Destination::open(directory)
            .map_err(|error| Failure::failed(format_args!("{}: {error}", directory.display())))?;
        let wishes = args.agreement.wishes(single.is_some());
        let destination = destination
            .replace(args.writing.force)
            .owners(args.owners)
            .xattrs(args.xattrs)
            .resume(wishes.resume)
            .single(single.is_some())
            .sync_each(single.is_some() && !args.writing.no_sync);
        Ok(Self {
            path: args.sink.clone(),
            single,
            wishes,
            destination: RefCell::new(Some(destination)),
            counts: Cell::default(),
            told_unkept: Cell::default(),
        })
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn phrase(&self) -> String {
        self.counts.get().phrase()
    }

    /// Says what was made, after the receipt.
    pub(super) fn report(&self, from: &str, quiet: bool) -> Result<(), Failure> {
        let (name, made, counts) = (self.name(), self.phrase(), self.counts.get());
        if counts.mismatched > 0 {
            return Err(Failure::failed(format_args!(
                "{from} -> {name}: made {made}; not kept, because their hashes differ: {} (see above)",
                counts.mismatched
            )));
        }
        let there = progress::already_there((counts.files_there, counts.bytes_there));
        match counts.refused + counts.lacking {
            0 if quiet || self.single.is_some() && there.is_empty() => Ok(()),
            0 => {
                report::notice(format_args!("{name}: made {made}{there}"));
                Ok(())
            }
            lacks => Err(Failure::incomplete(format_args!(
                "{from} -> {name}: made {made}; not made, or not as it was: {lacks} (see above)"
            ))),
        }
    }

    /// How many files were made.
    pub(super) fn files(&self) -> String {
        self.counts.get().files()
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts.get()
    }

    /// What there is of a file that could be sent.
    pub(super) fn there(&self, offer: &Offer) -> There {
        match self.destination.borrow_mut().as_mut() {
            Some(destination) => destination.there(offer),
            None => There::Nothing,
        }
    }

    /// Counts what was there already.
    pub(super) fn there_already(&self, files: u64, bytes: u64) {
        self.count(|counts| {
            counts.files_there += files;
            counts.bytes_there += bytes;
        });
    }

    /// Takes back what was counted.
    pub(super) fn there_no_more(&self, files: u64, bytes: u64) {
        self.count(|counts| {
            counts.files_there = counts.files_there.saturating_sub(files);
            counts.bytes_there = counts.bytes_there.saturating_sub(bytes);
        });
    }

    /// A file is not taken.
    pub(super) fn refused(&self, path: &[u8], why: &Refusal) {
        self.count(|counts| counts.refused += 1);
        let path = String::from_utf8_lossy(path);
        report::notice(format_args!("{path}: {why}"));
    }

    /// Whether what comes of a file stays if no more comes. Says once if it does not, and was to.
    pub(super) fn keeps(&self, new: &NewFile) -> bool {
        if self.wishes.resume && !new.is_kept() && !self.told_unkept.replace(true) {
            report::notice(format_args!(
                "{}: a file that breaks off cannot be kept here (no file locks), and would begin anew; whole files are not sent again",
                self.name()
            ));
        }
        new.is_kept()
    }

    /// Removes what transfers that broke off have left of older versions, and says what remains.
    pub(super) fn clean(&self, quiet: bool) {
        if !self.wishes.resume {
            return;
        }
        let found = match self.destination.borrow_mut().as_mut() {
            Some(destination) => destination.leftovers(self.single.as_deref()),
            None => return,
        };
        let files = |count| units::count(count, "hidden file");
        if found.removed > 0 && !quiet {
            report::notice(format_args!(
                "{}: removed {} of older versions (.underpass-*.part)",
                self.name(),
                files(found.removed)
            ));
        }
        if found.left > 0 && !quiet {
            report::notice(format_args!(
                "{}: {} with {} (.underpass-*.part) belong to other transfers or versions; nothing of this one goes on with them",
                self.name(),
                files(found.left),
                units::size(found.left_bytes)
            ));
        }
    }

    /// Something is there without its owner or extended attributes.
    pub(super) fn lacks(&self, path: &str, why: &io::Error) {
        self.count(|counts| counts.lacking += 1);
        report::notice(format_args!(
            "{path}: it is there, but without its owner or attributes: {why}"
        ));
    }

    pub(super) fn mismatched(&self) {
        self.count(|counts| counts.mismatched += 1);
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl Counts {
    /// Nothing was made.
    pub(super) fn nothing(self) -> bool {
        self.files + self.others == 0
    }

    pub(super) fn phrase(self) -> String {
        progress::entries(self.files, self.others)
    }

    /// Only the files, if there are any.
    fn files(self) -> String {
        progress::files(self.files, self.others)
    }
}
