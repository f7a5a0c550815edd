//! Reads an archive from a connection, and unpacks it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use underpass::{Error, Kind, Receipt, Route, Transfer, Usage};
use underpass_archive::agreement::{HELLO_LEN, Hello};
use underpass_archive::tar::{ReadError, ReadKind, ReadMember, Reader, padding};
use underpass_archive::unpack::{NewFile, Refusal};

use super::Receiving;
use super::tree::TreeSink;
use crate::commands::checksum::{Checksum, WINDOW};
use crate::commands::progress::Bar;
use crate::commands::receipt::{self, ReceiptOutput};
use crate::commands::transfer;
use crate::exit::Failure;
use crate::io::PeerStream;
use crate::io::connection::PeerConnection;
use crate::report;

use agreed::Agreed;

mod agreed;

/// What another program has done to a part, after the sender was told of it.
const PART_GONE: &str =
    "what had come of it was changed meanwhile; once more with --resume, it is sent whole";

/// A content of at most this many bytes is read and written: to splice it would take more calls.
const COPY_UP_TO: u64 = 16 << 10;

impl TreeSink {
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
        if unpacked.is_ok() {
            self.clean(receiving.args.common.quiet);
        }
        let began = Instant::now();
        // A single file is synced by itself.
        let sync = !receiving.args.writing.no_sync && self.single.is_none();
        // Also after a failure: what is whole is kept, with its directories' modes and times.
        let finished = self
            .destination
            .take()
            .map_or(Ok(None), |it| it.finish(sync));
        if let Ok(Some(error)) = &finished {
            self.lacks(&self.name(), error);
        }
        let mut receipt = unpacking.receipt();
        receipt.sync = sync.then(|| began.elapsed()).or(unpacking.synced);
        receipt.already_there = self.counts().bytes_there;
        let finished =
            finished.map_err(|error| Failure::failed(format_args!("{}: {error}", self.name())));
        let Err(failure) = unpacked.and(finished) else {
            let counts = self.counts();
            receipt.complete = counts.refused + counts.mismatched + counts.lacking == 0;
            return Ok(Some(receipt));
        };
        receipt.complete = false;
        receipt::failed(
            Some(&receipt),
            &receiving.args.common,
            ReceiptOutput::Standard,
        );
        if self.single.is_some() || self.counts().nothing() {
            return Err(failure);
        }
        let kept = format!(
            "; kept in {}: {}, each of them whole",
            self.name(),
            self.phrase()
        );
        Err(failure.and(&kept))
    }
}

/// An archive that is being received.
struct Unpacking<'a> {
    sink: &'a TreeSink,
    receiving: &'a Receiving<'a>,
    connection: &'a PeerConnection,
    stream: PeerStream<'a>,
    names: (String, String),
    bar: Bar,
    /// The receipts of all contents together.
    receipt: Receipt,
    /// The connection ended before its first byte.
    is_unused: bool,
    /// Bytes of headers and padding.
    read: u64,
    began: Instant,
    before: Usage,
    /// How long a single file took to sync.
    synced: Option<Duration>,
    /// What came of the current file stays if no more comes.
    keeps: bool,
    agreed: Agreed,
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
            began: Instant::now(),
            before: Usage::of_thread(),
            synced: None,
            keeps: false,
            agreed: Agreed::default(),
            stream: PeerStream::new(
                connection,
                receiving.args.network.timeout,
                &receiving.interrupt.cancel,
            ),
        })
    }

    /// Unpacks to the end of the archive, and reads on to the end of the stream.
    fn all(&mut self) -> Result<(), Failure> {
        let wishes = self.sink.wishes;
        let mut first = Vec::new();
        if wishes.any() {
            if !self.agree()? {
                return Ok(());
            }
        } else {
            // The first block; or a hello, which is as long.
            let read = self.by_ref().take(HELLO_LEN as u64).read_to_end(&mut first);
            read.map_err(|error| self.unreadable(&error.into()))?;
        }
        if let Ok(hello) = first[..].try_into()
            && Hello::may_begin(&first)
        {
            return Err(self.receiving.not_wished(self.connection, hello));
        }
        let mut packed = compression(&first);
        let mut reader = Reader::new();
        let mut first = &first[..];
        loop {
            let member = if first.is_empty() {
                reader.next(self)
            } else {
                let mut input = first.chain(&mut *self);
                let member = reader.next(&mut input);
                first = &[];
                member
            };
            let member = member.map_err(|error| match packed.take() {
                Some(packed) => self.compressed(packed),
                None => self.unreadable(&error),
            });
            // What begins so can be the name of an entry, too.
            packed = None;
            match member? {
                Some(member) => self.member(&member, &mut reader)?,
                None => break,
            }
        }
        if wishes.any() {
            self.say_report()?;
        }
        let mut rest = vec![0; 64 << 10];
        while self
            .read(&mut rest)
            .map_err(|error| self.unreadable(&error.into()))?
            > 0
        {}
        Ok(())
    }

    fn member(&mut self, member: &ReadMember, reader: &mut Reader) -> Result<(), Failure> {
        if let (ReadKind::Note(note), true) = (&member.kind, self.sink.wishes.any()) {
            return self.note(*note, member);
        }
        let member = &self.named(member)?;
        let made = match self.sink.destination.borrow_mut().as_mut() {
            Some(destination) => destination.make(member),
            None => return Ok(()),
        };
        let mut new = None;
        match made {
            Ok(Some(file)) if !self.can_go_on(member, &file) => {
                self.forget(&member.path);
                file.discard();
                self.not_made(member);
                self.refused(member, &Refusal::Failed(io::Error::other(PART_GONE)))?;
                self.discard(member.stored)?;
            }
            Ok(Some(file)) => {
                let checksum = self.file(member, &file)?;
                new = Some((file, checksum));
            }
            Ok(None) => {
                self.sink.count(|counts| counts.others += 1);
                self.discard(member.stored)?;
            }
            Err(refusal) => {
                self.forget(&member.path);
                self.refused(member, &refusal)?;
                self.discard(member.stored)?;
            }
        }
        let mut zeros = [0; 512];
        let padding = padding(member.stored) as usize;
        self.read_exact(&mut zeros[..padding])
            .map_err(|error| self.cut(member, &error.into()))?;
        match new {
            Some((file, checksum)) => self.finish(member, (file, checksum), reader),
            None => Ok(()),
        }
    }

    /// Gives a whole file its name; to verify, if its hash is that of the sender.
    fn finish(
        &mut self,
        member: &ReadMember,
        (new, checksum): (NewFile, Option<Checksum>),
        reader: &mut Reader,
    ) -> Result<(), Failure> {
        let path = String::from_utf8_lossy(&member.path).into_owned();
        if let Some(checksum) = checksum
            && !self.is_same(&path, checksum, reader)?
        {
            new.discard();
            self.not_made(member);
            return Ok(());
        }
        let began = Instant::now();
        match new.finish() {
            Ok(None) => {}
            Ok(Some(error)) => self.sink.lacks(&path, &error),
            Err(refusal) => {
                self.not_made(member);
                return self.refused(member, &refusal);
            }
        }
        if self.sink.single.is_some() && !self.receiving.args.writing.no_sync {
            self.synced = Some(began.elapsed());
        }
        self.sink.count(|counts| counts.files += 1);
        Ok(())
    }

    /// Notes that a file did not arrive, so that no hard link leads to what is there instead.
    fn not_made(&self, member: &ReadMember) {
        if let Some(destination) = self.sink.destination.borrow_mut().as_mut() {
            destination.not_made(&member.path);
        }
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

    /// Receives the content of a file. Returns its hash, to verify.
    fn file(&mut self, member: &ReadMember, new: &NewFile) -> Result<Option<Checksum>, Failure> {
        let path = String::from_utf8_lossy(&member.path).into_owned();
        let failed = |error: io::Error| Failure::failed(format_args!("{path}: {error}"));
        let mut checksum = self.begin(member, new, &path)?;
        self.keeps = self.sink.keeps(new);
        let whole = 0..member.stored;
        let data = member.sparse.as_ref().map(|map| map.data().to_vec());
        for range in data.unwrap_or_else(|| vec![whole]) {
            let mut file: &File = new.file();
            file.seek(SeekFrom::Start(range.start)).map_err(failed)?;
            let mut at = range.start;
            while at < range.end {
                let end = match &checksum {
                    Some(_) => range.end.min(at + WINDOW),
                    None => range.end,
                };
                self.transfer(&path, file, end - at)?;
                if let Some(checksum) = &mut checksum {
                    checksum.data(file, at..end).map_err(failed)?;
                }
                at = end;
            }
        }
        if let Some(map) = &member.sparse {
            new.file().set_len(map.size()).map_err(failed)?;
            if let Some(checksum) = &mut checksum {
                checksum.zeros(map.size());
            }
        }
        Ok(checksum)
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
        let (bar, counts) = (&mut self.bar, self.sink.counts());
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
        let to = match &self.sink.single {
            Some(_) => to.clone(),
            None => format!("{to}{path}"),
        };
        let names = (from.clone(), to);
        let failure = transfer::failure(error, &names, self.receiving.interrupt, "");
        failure.and(if self.keeps {
            "; what came of it is kept for --resume"
        } else {
            "; it is not kept"
        })
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

    fn compressed(&self, (format, tar): (&str, &str)) -> Failure {
        let (from, to) = &self.names;
        Failure::failed(format_args!(
            "{from} -> {to}: it is compressed ({format}), and only plain archives are unpacked; `recv ADDR - | {tar}` unpacks it"
        ))
    }

    fn cut(&self, member: &ReadMember, error: &ReadError) -> Failure {
        let path = String::from_utf8_lossy(&member.path);
        self.unreadable(error).and(&format!(", after {path}"))
    }

    /// The receipt of everything that was received.
    fn receipt(&self) -> Receipt {
        let mut receipt = self.receipt.clone();
        receipt.add_read(self.read, self.stream.reads);
        if self.sink.wishes.verify {
            receipt.add_checksum(&self.agreed.pass);
        }
        receipt.wall = self.began.elapsed();
        let used = Usage::of_thread().since(&self.before);
        receipt.cpu.user = used.user;
        receipt.cpu.system = used.system;
        receipt.context_switches.voluntary = used.voluntary;
        receipt.context_switches.involuntary = used.involuntary;
        receipt.sink.kind = if self.sink.single.is_some() {
            Kind::File
        } else {
            Kind::Directory
        };
        receipt.sink.name.clone_from(&self.names.1);
        receipt
    }
}

/// How an archive is compressed that begins like this, and what unpacks it.
fn compression(first: &[u8]) -> Option<(&'static str, &'static str)> {
    const KNOWN: [(&[u8], &str, &str); 4] = [
        (b"\x1f\x8b", "gzip", "tar xz"),
        (b"BZh", "bzip2", "tar xj"),
        (b"\xfd7zXZ", "xz", "tar xJ"),
        (b"\x28\xb5\x2f\xfd", "zstd", "tar x --zstd"),
    ];
    let known = KNOWN.iter().find(|(begin, ..)| first.starts_with(begin));
    known.map(|(_, format, tar)| (*format, *tar))
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
        let count = self.stream.read(buffer)?;
        self.is_unused |= count == 0 && self.read == 0;
        self.read += count as u64;
        Ok(count)
    }
}
