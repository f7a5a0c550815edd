//! A sink that is not a socket.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use underpass::AtomicFile;
use underpass::atomic_file::{self, AtomicFileOptions, close, sync_content, sync_name};

use super::{descriptor, directory_of, failed, inherited, is_standard, must_be_open_for};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::StandardStream;

/// A file, standard output, a device, or an inherited descriptor.
pub(crate) enum Sink {
    Standard,
    Descriptor(OwnedFd, PathBuf),
    /// A device or FIFO.
    Special(File, PathBuf),
    /// A regular file that is written in place.
    InPlace {
        file: File,
        path: PathBuf,
        /// It was created by this command.
        new: bool,
    },
    /// A regular file that appears under its name when it is complete.
    Atomic(AtomicFile, PathBuf),
}

/// How to write a file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WriteOptions {
    /// Replace an existing file.
    pub(crate) force: bool,
    /// Write into an existing file, as cp(1) does.
    pub(crate) in_place: bool,
    /// Sync the file, so that it survives a power cut.
    pub(crate) sync: bool,
    /// The mode of a new file, less the umask.
    pub(crate) mode: u32,
}

/// What finishing a sink has done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Finished {
    /// Time spent syncing, if there was anything to sync.
    pub(crate) sync: Option<Duration>,
    /// Hard links that still lead to the replaced content.
    pub(crate) other_names: u64,
}

impl Sink {
    /// Opens `path` for writing. Signals are caught from the moment when there may be a temporary
    /// file to remove.
    pub(crate) fn open(path: &Path, options: WriteOptions) -> Result<(Self, Interrupt), Failure> {
        // Opening a FIFO may wait for its reader for ever. Until it is open, signals end the
        // process.
        let open = match Self::descriptor(path)? {
            Some(sink) => Some(sink),
            None => Self::special(path)?,
        };
        let interrupt = Interrupt::listen_to_all()?;
        let sink = match open {
            Some(sink) => sink,
            None => Self::file(path, options)?,
        };
        Ok((sink, interrupt))
    }

    /// Opens `path` if it leads to an open descriptor.
    pub(crate) fn descriptor(path: &Path) -> Result<Option<Self>, Failure> {
        match descriptor::number(path) {
            _ if is_standard(path) => {}
            Some(1) => {}
            Some(number) => {
                let sink = Self::Descriptor(inherited(number, path)?, path.to_owned());
                must_be_open_for("writing", &sink, &sink.name())?;
                return Ok(Some(sink));
            }
            None => return Ok(None),
        }
        StandardStream::Output.needed()?;
        must_be_open_for("writing", StandardStream::Output, &Self::Standard.name())?;
        Ok(Some(Self::Standard))
    }

    /// Opens `path` if it is a device or FIFO.
    fn special(path: &Path) -> Result<Option<Self>, Failure> {
        let found = std::fs::metadata(path).ok();
        if found.is_none_or(|found| found.is_file() || found.is_dir()) {
            return Ok(None);
        }
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        Ok(Some(Self::Special(file, path.to_owned())))
    }

    fn file(path: &Path, options: WriteOptions) -> Result<Self, Failure> {
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(is_directory(path)),
            Ok(_) if !options.force && !options.in_place => Err(exists(path, "exists")),
            // A link is followed: its target is written.
            Ok(_) => {
                let target = path.canonicalize().map_err(|error| failed(path, &error))?;
                Self::new_file(target, options)
            }
            // As cp(1): it is unclear whether the link or its target was meant.
            Err(_) if path.is_symlink() => Err(Failure::failed(format_args!(
                "{}: is a dangling link; name the file itself",
                path.display()
            ))),
            Err(_) if path.as_os_str().as_bytes().ends_with(b"/") => Err(Failure::failed(
                format_args!("{}: there is no such directory", path.display()),
            )),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Self::new_file(path.to_owned(), options)
            }
            Err(error) => Err(failed(path, &error)),
        }
    }

    fn new_file(target: PathBuf, options: WriteOptions) -> Result<Self, Failure> {
        if options.in_place {
            let new = !target.exists();
            let mut open = OpenOptions::new();
            open.write(true).create_new(new).mode(options.mode);
            let file = open.open(&target);
            let file = file.map_err(|error| failed(&target, &error))?;
            return Ok(Self::InPlace {
                file,
                path: target,
                new,
            });
        }
        let directory = directory_of(&target);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(directory, flags, Mode::empty())
            .map_err(|errno| no_directory(&target, directory, &errno.into()))?;
        let file = AtomicFileOptions::new()
            .replace(options.force)
            .sync(options.sync)
            .mode(options.mode)
            .create_in(opened, target.file_name().unwrap_or_default())
            .map_err(|error| not_made(&target, &error, "exists"))?;
        Ok(Self::Atomic(file, target))
    }

    /// Empties the file if it is written in place.
    pub(crate) fn begin(&self) -> Result<(), Failure> {
        match self {
            Self::InPlace { file, path, .. } => {
                file.set_len(0).map_err(|error| failed(path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Cuts a file that is written in place behind its first `bytes`. In place of
    /// [`begin`](Self::begin), where it was not known before whether there would be any.
    pub(crate) fn cut(&self, bytes: u64) -> Result<(), Failure> {
        match self {
            Self::InPlace { file, path, .. } => {
                file.set_len(bytes).map_err(|error| failed(path, &error))
            }
            _ => Ok(()),
        }
    }

    /// Syncs and closes what was written, and gives a new file its name. `what` names the transfer
    /// if a signal cancels it.
    pub(crate) fn finish(
        self,
        options: WriteOptions,
        what: &dyn Fn() -> String,
        interrupt: &Interrupt,
    ) -> Result<Finished, Failure> {
        let (name, left) = (self.name(), self.leftover_note());
        let failed = |call| {
            let (name, left) = (&name, &left);
            move |error: io::Error| Failure::failed(format_args!("{name}: {call}: {error}{left}"))
        };
        let sync = match &self {
            Self::Atomic(..) => None,
            open if options.sync => sync_content(open).map_err(failed("fsync"))?,
            _ => None,
        };
        match self {
            Self::Atomic(file, path) => return commit(file, &path, what, interrupt),
            Self::Standard => StandardStream::Output.check().map_err(failed("close"))?,
            Self::Descriptor(fd, _) => close(fd).map_err(failed("close"))?,
            Self::Special(file, _) => close(file).map_err(failed("close"))?,
            Self::InPlace { file, path, new } => {
                if new && options.sync {
                    sync_name(&file, directory_of(&path)).map_err(failed("its directory"))?;
                }
                close(file).map_err(failed("close"))?;
            }
        }
        Ok(Finished {
            sync,
            other_names: 0,
        })
    }

    pub(crate) fn is_in_place(&self) -> bool {
        matches!(self, Self::InPlace { .. })
    }

    /// Whether the sink is standard output, even if through another descriptor.
    pub(crate) fn is_standard_output(&self) -> bool {
        let identity = |fd: BorrowedFd<'_>| {
            let stat = rustix::fs::fstat(fd).ok()?;
            Some((stat.st_dev, stat.st_ino))
        };
        match self {
            Self::Standard => true,
            Self::Descriptor(fd, _) => {
                let own = identity(fd.as_fd());
                own.is_some() && own == identity(rustix::stdio::stdout())
            }
            _ => false,
        }
    }

    /// A clause that says what a failure leaves behind.
    /// Whether people see what is written to it.
    pub(crate) fn is_terminal(&self) -> bool {
        rustix::termios::isatty(self)
    }

    /// Fails if it is a terminal and `beginning`, that of the data, is not text: control sequences
    /// in it would change how the terminal works.
    pub(crate) fn refuse_binary(&self, source: &str, beginning: &[u8]) -> Result<(), Failure> {
        if !beginning.contains(&0) || !self.is_terminal() {
            return Ok(());
        }
        let name = self.name();
        Err(Failure::usage(format_args!(
            "{source}: is not text, and {name} is a terminal, which it would garble; write it to a file, \
             or pipe it through cat to see it all the same"
        )))
    }

    pub(crate) fn leftover_note(&self) -> String {
        match self {
            Self::InPlace { path, .. } => format!("; {} holds what came", path.display()),
            _ => String::new(),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => StandardStream::Output.name().to_owned(),
            Self::Descriptor(_, path)
            | Self::Special(_, path)
            | Self::InPlace { path, .. }
            | Self::Atomic(_, path) => path.display().to_string(),
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard => rustix::stdio::stdout(),
            Self::Descriptor(fd, _) => fd.as_fd(),
            Self::Special(file, _) | Self::InPlace { file, .. } => file.as_fd(),
            Self::Atomic(file, _) => file.as_fd(),
        }
    }
}

fn commit(
    file: AtomicFile,
    path: &Path,
    what: &dyn Fn() -> String,
    interrupt: &Interrupt,
) -> Result<Finished, Failure> {
    let not_made = |error| not_made(path, &error, "appeared meanwhile");
    let sealed = file.seal().map_err(not_made)?;
    // Syncing can take minutes, and a signal does not interrupt it.
    if interrupt.cancel.is_cancelled() {
        return Err(interrupt.failure(format_args!("{}: cancelled while syncing", what())));
    }
    let committed = sealed
        .publish()
        .and_then(atomic_file::Published::sync)
        .map_err(not_made)?;
    Ok(Finished {
        sync: committed.sync_time(),
        other_names: committed.other_names(),
    })
}

/// The failure of a file that is a directory.
pub(super) fn is_directory(path: &Path) -> Failure {
    Failure::failed(format_args!(
        "{}: is a directory; name a file in it",
        path.display()
    ))
}

/// The failure of a file whose directory cannot be opened.
pub(super) fn no_directory(path: &Path, directory: &Path, error: &io::Error) -> Failure {
    let (name, directory) = (path.display(), directory.display());
    if error.kind() == ErrorKind::NotFound {
        return Failure::failed(format_args!(
            "{name}: there is no directory {directory}; make it first: mkdir -p {directory}"
        ));
    }
    Failure::failed(format_args!("{name}: {directory}: {error}"))
}

fn exists(path: &Path, how: &str) -> Failure {
    Failure::failed(format_args!(
        "{}: {how}; --force replaces it, --in-place writes into it",
        path.display()
    ))
}

fn not_made(path: &Path, error: &atomic_file::Error, exists_how: &str) -> Failure {
    let name = path.display();
    if error.is_already_there() {
        return exists(path, exists_how);
    }
    if error.is_irreplaceable() && !error.is_marked() {
        return Failure::failed(format_args!("{name}: {error}; --in-place writes into it"));
    }
    if error.is_not_created() {
        let (directory, errno) = (directory_of(path).display(), error.raw_os_error());
        let why = io::Error::from_raw_os_error(errno.unwrap_or_default());
        let hint = match why.kind() {
            ErrorKind::PermissionDenied if path.exists() => "; --in-place writes into it",
            _ => "",
        };
        return Failure::failed(format_args!(
            "{name}: cannot be created in {directory}: {why}{hint}"
        ));
    }
    Failure::failed(format_args!("{name}: {error}"))
}
