//! Files to read and to write, `-` among them.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::exit::Failure;
use crate::interrupt::Interrupt;

/// Characters of a file's name that its temporary name shows: of four bytes each they leave room for the rest in the 255
/// bytes that Linux allows (NAME_MAX).
const NAME_SHOWN: usize = 60;

/// `-` means a standard stream.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Something to read.
pub(crate) enum Source {
    Standard,
    File(File, PathBuf),
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if is_standard(path) {
            return Ok(Self::Standard);
        }
        let file = File::open(path).map_err(|error| failed(path, &error))?;
        let metadata = file.metadata().map_err(|error| failed(path, &error))?;
        if metadata.is_dir() {
            return Err(Failure::failed(format_args!(
                "{}: is a directory; name a file",
                path.display()
            )));
        }
        Ok(Self::File(file, path.to_owned()))
    }

    pub(crate) fn metadata(&self) -> Option<Metadata> {
        match self {
            Self::Standard => None,
            Self::File(file, _) => file.metadata().ok(),
        }
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => "standard input".to_owned(),
            Self::File(_, path) => path.display().to_string(),
        }
    }
}

impl AsFd for Source {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard => rustix::stdio::stdin(),
            Self::File(file, _) => file.as_fd(),
        }
    }
}

/// Something to write.
pub(crate) enum Sink {
    Standard,
    /// A device or FIFO, written as it is.
    Special(File, PathBuf),
    /// A regular file, which appears under its name when it is whole.
    Pending(Pending),
}

/// A file under a temporary name beside its own; dropping it removes it.
pub(crate) struct Pending {
    file: NamedTempFile,
    target: PathBuf,
    replace: bool,
}

impl Sink {
    /// Prepares to write `path`, and catches signals from the moment on where there is something to clear away. A file that
    /// exists is replaced only with `force`, and only at the end; a new one gets `mode`, less the umask.
    pub(crate) fn open(path: &Path, force: bool, mode: u32) -> Result<(Self, Interrupt), Failure> {
        // Opening a FIFO may wait for its reader for ever: until then signals end the process by themselves.
        let special = Self::special(path)?;
        let interrupt = Interrupt::listen()?;
        let sink = match special {
            Some(sink) => sink,
            None => Self::create(path, force, mode)?,
        };
        Ok((sink, interrupt))
    }

    /// `path` if it is a device or FIFO.
    fn special(path: &Path) -> Result<Option<Self>, Failure> {
        let found = std::fs::metadata(path).ok();
        let plain = found.is_none_or(|found| found.is_file() || found.is_dir());
        if plain || is_standard(path) {
            return Ok(None);
        }
        let file = OpenOptions::new().write(true).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        Ok(Some(Self::Special(file, path.to_owned())))
    }

    fn create(path: &Path, force: bool, mode: u32) -> Result<Self, Failure> {
        if is_standard(path) {
            return Ok(Self::Standard);
        }
        match std::fs::metadata(path) {
            Ok(found) if found.is_dir() => Err(Failure::failed(format_args!(
                "{}: is a directory; name a file in it",
                path.display()
            ))),
            Ok(_) if !force => Err(Failure::failed(format_args!(
                "{}: exists; --force replaces it",
                path.display()
            ))),
            // A link is followed: what it names is replaced, not the link.
            Ok(_) => {
                let target = path.canonicalize().map_err(|error| failed(path, &error))?;
                Pending::create(target, true, mode).map(Self::Pending)
            }
            // As for cp(1): whether the link was meant, or a file that it should lead to, nobody can tell.
            Err(_) if path.is_symlink() => Err(Failure::failed(format_args!(
                "{}: is a link that leads to no file; name the file itself",
                path.display()
            ))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Pending::create(path.to_owned(), force, mode).map(Self::Pending)
            }
            Err(error) => Err(failed(path, &error)),
        }
    }

    /// Gives a pending file its name.
    pub(crate) fn commit(self) -> Result<(), Failure> {
        match self {
            Self::Pending(pending) => pending.commit(),
            Self::Standard | Self::Special(..) => Ok(()),
        }
    }

    pub(crate) fn is_standard(&self) -> bool {
        matches!(self, Self::Standard)
    }

    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => "standard output".to_owned(),
            Self::Special(_, path) => path.display().to_string(),
            Self::Pending(pending) => pending.target.display().to_string(),
        }
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Standard => rustix::stdio::stdout(),
            Self::Special(file, _) => file.as_fd(),
            Self::Pending(pending) => pending.file.as_file().as_fd(),
        }
    }
}

impl Pending {
    fn create(target: PathBuf, replace: bool, mode: u32) -> Result<Self, Failure> {
        let directory = directory_of(&target);
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let name: String = name.chars().take(NAME_SHOWN).collect();
        let file = tempfile::Builder::new()
            .prefix(&format!(".{name}."))
            .suffix(".part")
            .make_in(directory, |path| {
                let mut options = OpenOptions::new();
                options.read(true).write(true).create_new(true).mode(mode);
                options.open(path)
            })
            .map_err(|error| {
                Failure::failed(format_args!(
                    "{}: cannot be created in {}: {error}",
                    target.display(),
                    directory.display()
                ))
            })?;
        Ok(Self {
            file,
            target,
            replace,
        })
    }

    fn commit(self) -> Result<(), Failure> {
        let target = self.target;
        let named = if self.replace {
            self.file.persist(&target)
        } else {
            self.file.persist_noclobber(&target)
        };
        match named {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {
                Err(Failure::failed(format_args!(
                    "{}: appeared meanwhile; --force replaces it",
                    target.display()
                )))
            }
            Err(error) => Err(failed(&target, &error.error)),
        }
    }
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Whether both are one file, so that writing the one would destroy the other.
pub(crate) fn is_same_file(source: &Source, path: &Path) -> bool {
    let (Some(from), Ok(to)) = (source.metadata(), std::fs::metadata(path)) else {
        return false;
    };
    from.is_file() && from.dev() == to.dev() && from.ino() == to.ino()
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format_args!("{}: {error}", path.display()))
}
