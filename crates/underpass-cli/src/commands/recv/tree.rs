//! Unpacks what is received into a directory.

use std::cell::{Cell, RefCell};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::io::Errno;
use underpass::{Cancel, Error, Kind, Receipt, Route, Transfer, Usage};
use underpass_archive::tar::{ReadError, ReadMember, Reader, padding};
use underpass_archive::unpack::{Destination, NewFile, Refusal};

use super::Receiving;
use crate::args::RecvArgs;
use crate::commands::progress::{self, Bar};
use crate::commands::receipt::{self, ReceiptOutput};
use crate::commands::transfer;
use crate::exit::Failure;
use crate::io::connection::PeerConnection;
use crate::io::wait::wait_readable;
use crate::report;

/// A content of at most this many bytes is read and written: to splice it would take more calls.
const COPY_UP_TO: u64 = 16 << 10;

/// A directory into which an archive is unpacked.
pub(super) struct TreeSink {
    path: PathBuf,
    destination: RefCell<Option<Destination>>,
    counts: Cell<Counts>,
}

/// What was made so far.
#[derive(Clone, Copy, Default)]
struct Counts {
    files: u64,
    others: u64,
    refused: u64,
}

impl TreeSink {
    /// The directory that the arguments name, if they do: one that exists, or a name with a slash
    /// at its end.
    pub(super) fn of(args: &RecvArgs) -> Result<Option<Self>, Failure> {
        let path = &args.sink;
        if !path.as_os_str().as_bytes().ends_with(b"/") && !path.is_dir() {
            return Ok(None);
        }
        let only_files = [
            (args.writing.in_place, "--in-place"),
            (args.expect.is_some(), "--expect"),
            (args.allow_empty, "--allow-empty"),
        ];
        if let Some((_, option)) = only_files.iter().find(|(given, _)| *given) {
            return Err(Failure::usage(format_args!(
                "{option} is for a file; an archive is unpacked into {}",
                path.display()
            )));
        }
        let destination = Destination::open(path)
            .map_err(|error| Failure::failed(format_args!("{}: {error}", path.display())))?;
        let destination = destination.replace(args.writing.force);
        let destination = destination.owners(args.owners).xattrs(args.xattrs);
        Ok(Some(Self {
            path: path.clone(),
            destination: RefCell::new(Some(destination)),
            counts: Cell::default(),
        }))
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Receives an archive to its end, and makes everything durable. `None` if the connection ended
    /// without a byte.
    pub(super) fn receive(
        &self,
        receiving: &Receiving<'_>,
        connection: &mut PeerConnection,
    ) -> Result<Option<Receipt>, Failure> {
        let mut unpacking = Unpacking::start(self, receiving, connection)?;
        let unpacked = unpacking.all();
        unpacking.bar.clear();
        if unpacking.is_unused {
            return Ok(None);
        }
        let began = Instant::now();
        let sync = !receiving.args.writing.no_sync;
        // Also after a failure: what is whole is kept, with its directories' modes and times.
        let finished = self.destination.take().map_or(Ok(()), |it| it.finish(sync));
        let mut receipt = unpacking.receipt();
        receipt.sync = sync.then(|| began.elapsed());
        let finished =
            finished.map_err(|error| Failure::failed(format_args!("{}: {error}", self.name())));
        let failure = match unpacked.and(finished) {
            Ok(()) => {
                receipt.complete = self.counts.get().refused == 0;
                return Ok(Some(receipt));
            }
            Err(failure) => failure,
        };
        receipt.complete = false;
        receipt::failed(
            Some(&receipt),
            &receiving.args.common,
            ReceiptOutput::Standard,
        );
        let kept = format!(
            "; kept in {}: {}, each of them whole",
            self.name(),
            self.phrase()
        );
        Err(failure.and(&kept))
    }

    fn phrase(&self) -> String {
        self.counts.get().phrase()
    }

    /// Says what was made, after the receipt.
    pub(super) fn report(&self, from: &str, quiet: bool) -> Result<(), Failure> {
        let (name, made) = (self.name(), self.phrase());
        match self.counts.get().refused {
            0 if quiet => Ok(()),
            0 => {
                report::notice(format_args!("{name}: made {made}"));
                Ok(())
            }
            refused => Err(Failure::incomplete(format_args!(
                "{from} -> {name}: made {made}; not made: {refused} (see above)"
            ))),
        }
    }

    /// How many files were made.
    pub(super) fn files(&self) -> String {
        self.counts.get().files()
    }

    fn count(&self, change: impl FnOnce(&mut Counts)) {
        let mut counts = self.counts.get();
        change(&mut counts);
        self.counts.set(counts);
    }
}

impl Counts {
    fn phrase(self) -> String {
        progress::entries(self.files, self.others)
    }

    /// Only the files, if there are any.
    fn files(self) -> String {
        progress::files(self.files, self.others)
    }
}

/// An archive that is being received.
struct Unpacking<'a> {
    sink: &'a TreeSink,
    receiving: &'a Receiving<'a>,
    connection: &'a PeerConnection,
    names: (String, String),
    bar: Bar,
    /// The receipts of all contents together.
    receipt: Receipt,
    /// The connection ended before its first byte.
    is_unused: bool,
    /// Bytes of headers and padding, and the calls that read them.
    read: u64,
    calls: u64,
    began: Instant,
    before: Usage,
}

impl<'a> Unpacking<'a> {
    fn start(
        sink: &'a TreeSink,
        receiving: &'a Receiving<'a>,
        connection: &'a PeerConnection,
    ) -> Result<Self, Failure> {
        let names = (receiving.at.name(), sink.name());
        // For its length the socket does not block, so that no transfer has to switch that.
        let nothing = rustix::io::ioctl_fionbio(&connection.peer, true)
            .map_err(io::Error::from)
            .and_then(|()| OpenOptions::new().write(true).open("/dev/null"))
            .map_err(|error| Failure::failed(format_args!("{}: {error}", names.0)))?;
        let receipt = Transfer::new(&connection.peer, nothing)
            .range(..0)
            .names(&names.0, &names.1)
            .source_layer(connection.layer().cloned())
            .run()
            .map_err(|error| transfer::failure(&error, &names, receiving.interrupt, ""))?;
        Ok(Self {
            sink,
            receiving,
            connection,
            bar: Bar::new(receiving.args.common.quiet, &names),
            names,
            receipt,
            is_unused: false,
            read: 0,
            calls: 0,
            began: Instant::now(),
            before: Usage::of_thread(),
        })
    }

    /// Unpacks to the end of the archive, and reads on to the end of the stream.
    fn all(&mut self) -> Result<(), Failure> {
        let mut reader = Reader::new();
        loop {
            let member = reader.next(self).map_err(|error| self.unreadable(&error))?;
            match member {
                Some(member) => self.member(&member)?,
                None => break,
            }
        }
        let mut rest = vec![0; 64 << 10];
        while self
            .read(&mut rest)
            .map_err(|error| self.unreadable(&error.into()))?
            > 0
        {}
        Ok(())
    }

    fn member(&mut self, member: &ReadMember) -> Result<(), Failure> {
        let made = match self.sink.destination.borrow_mut().as_mut() {
            Some(destination) => destination.make(member),
            None => return Ok(()),
        };
        match made {
            Ok(Some(file)) => self.file(member, file)?,
            Ok(None) => {
                self.sink.count(|counts| counts.others += 1);
                self.discard(member.stored)?;
            }
            Err(refusal) => {
                self.refused(member, &refusal)?;
                self.discard(member.stored)?;
            }
        }
        let mut zeros = [0; 512];
        let padding = padding(member.stored) as usize;
        self.read_exact(&mut zeros[..padding])
            .map_err(|error| self.cut(member, &error.into()))
    }

    fn refused(&mut self, member: &ReadMember, refusal: &Refusal) -> Result<(), Failure> {
        let path = String::from_utf8_lossy(&member.path);
        if refusal.is_full() {
            return Err(Failure::failed(format_args!("{path}: {refusal}")));
        }
        self.sink.count(|counts| counts.refused += 1);
        report::notice(format_args!("{path}: {refusal}"));
        Ok(())
    }

    fn file(&mut self, member: &ReadMember, new: NewFile) -> Result<(), Failure> {
        let path = String::from_utf8_lossy(&member.path).into_owned();
        let failed = |error: io::Error| Failure::failed(format_args!("{path}: {error}"));
        match &member.sparse {
            None => self.content(&path, &new, member.stored)?,
            Some(map) => {
                for range in map.data() {
                    let mut file: &File = new.file();
                    file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
                    self.content(&path, &new, range.end - range.start)?;
                }
                new.file().set_len(map.size()).map_err(failed)?;
            }
        }
        new.finish().map_err(failed)?;
        self.sink.count(|counts| counts.files += 1);
        Ok(())
    }

    fn content(&mut self, path: &str, new: &NewFile, length: u64) -> Result<(), Failure> {
        let file: &File = new.file();
        self.transfer(path, file, length)
    }

    /// Reads a content that belongs nowhere.
    fn discard(&mut self, length: u64) -> Result<(), Failure> {
        if length == 0 {
            return Ok(());
        }
        let path = Path::new("/dev/null");
        let nowhere = OpenOptions::new().write(true).open(path);
        let nowhere = nowhere
            .map_err(|error| Failure::failed(format_args!("{}: {error}", path.display())))?;
        self.transfer("/dev/null", &nowhere, length)
    }

    fn transfer(&mut self, path: &str, file: &File, length: u64) -> Result<(), Failure> {
        if length == 0 {
            return Ok(());
        }
        let common = &self.receiving.args.common;
        let small = (length <= COPY_UP_TO).then_some(Route::ReadWrite);
        let before = self.receipt.bytes + self.read;
        let (bar, counts) = (&mut self.bar, self.sink.counts.get());
        let moved = Transfer::new(&self.connection.peer, file)
            .range(..length)
            .names(&self.names.0, path)
            .route(common.route.or(small))
            .idle_timeout(self.receiving.args.network.timeout)
            .source_layer(self.connection.layer().cloned())
            .cancel(&self.receiving.interrupt.cancel)
            .progress(|progress| bar.show_counted(progress.after(before), || counts.phrase()))
            .run();
        match moved {
            Ok(receipt) => {
                self.receipt.add(&receipt);
                Ok(())
            }
            Err(error) => Err(self.broken(path, &error)),
        }
    }

    /// The failure of a transfer in the middle of a content.
    fn broken(&mut self, path: &str, error: &Error) -> Failure {
        if let Some(receipt) = error.receipt() {
            self.receipt.add(receipt);
        }
        let cancel = &self.receiving.interrupt.cancel;
        self.connection.let_hear(error.layer_error(), cancel);
        let (from, to) = &self.names;
        let names = (from.clone(), format!("{to}{path}"));
        let failure = transfer::failure(error, &names, self.receiving.interrupt, "");
        failure.and("; it is not kept")
    }

    fn unreadable(&self, error: &ReadError) -> Failure {
        let what = format!("{} -> {}", self.names.0, self.names.1);
        let advice = match error {
            ReadError::Malformed(_) if self.receipt.bytes == 0 && self.read <= 1024 => {
                "; only archives are unpacked; name a file to keep what comes"
            }
            _ => "",
        };
        match error {
            ReadError::Io(error) if !is_end(error) => {
                let cancel = &self.receiving.interrupt.cancel;
                self.connection
                    .let_hear(underpass::LayerError::of(error), cancel);
                let timeout = self.receiving.args.network.timeout;
                transfer::wait_failure(&what, error, timeout, self.receiving.interrupt)
            }
            ReadError::Io(_) => Failure::incomplete(format_args!("{what}: {error}")),
            _ => Failure::failed(format_args!("{what}: {error}{advice}")),
        }
    }

    fn cut(&self, member: &ReadMember, error: &ReadError) -> Failure {
        let path = String::from_utf8_lossy(&member.path);
        self.unreadable(error).and(&format!(", after {path}"))
    }

    /// The receipt of everything that was received.
    fn receipt(&self) -> Receipt {
        let mut receipt = self.receipt.clone();
        receipt.add_read(self.read, self.calls);
        receipt.wall = self.began.elapsed();
        let used = Usage::of_thread().since(&self.before);
        receipt.cpu.user = used.user;
        receipt.cpu.system = used.system;
        receipt.context_switches.voluntary = used.voluntary;
        receipt.context_switches.involuntary = used.involuntary;
        receipt.sink.kind = Kind::Directory;
        receipt.sink.name.clone_from(&self.names.1);
        receipt
    }
}

/// The end of a stream, where `read_exact` met it. TLS says its own.
fn is_end(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
        && error
            .get_ref()
            .is_none_or(|inner| !inner.is::<underpass::LayerError>())
}

/// Reads exactly what is asked for: the content after a header is not to pass through memory.
impl Read for Unpacking<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let peer = self.connection.peer.as_fd();
        let cancel: &Cancel = &self.receiving.interrupt.cancel;
        loop {
            if cancel.is_cancelled() {
                return Err(Errno::CANCELED.into());
            }
            self.calls += 1;
            let got = match self.connection.layer() {
                Some(layer) => layer.receive(peer, buffer),
                None => rustix::io::read(peer, &mut *buffer).map_err(io::Error::from),
            };
            match got {
                Ok(count) => {
                    self.is_unused |= count == 0 && self.read == 0;
                    self.read += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_readable(peer, self.receiving.args.network.timeout, cancel)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
