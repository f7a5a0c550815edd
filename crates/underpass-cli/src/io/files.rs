//! Files, standard streams (`-`) and inherited descriptors as sources and sinks.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::Path;

use rustix::fs::{Access, FileType, OFlags, Stat, access, fstat};

use crate::exit::Failure;
use crate::sys;
use crate::values::Address;

mod descriptor;
mod sink;
mod source;

pub(crate) use sink::{Sink, WriteOptions};
pub(crate) use source::{PEEKED, Source};

/// Whether `path` is `-`, a standard stream.
pub(crate) fn is_standard(path: &Path) -> bool {
    path == Path::new("-")
}

/// Whether `path` is `-` or leads to an open descriptor, as /dev/fd/3 does.
pub(crate) fn is_descriptor(path: &Path) -> bool {
    is_standard(path) || descriptor::number(path).is_some()
}

/// Writes a whole file, in place if it exists.
pub(crate) fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let options = WriteOptions {
        force: false,
        in_place: true,
        sync: true,
        mode: 0o666,
    };
    let (sink, interrupt) = Sink::open(path, options)?;
    sink.begin()?;
    let file = sink.as_fd().try_clone_to_owned().map(File::from);
    file.and_then(|mut file| file.write_all(content))
        .map_err(|error| failed(path, &error))?;
    let what = || path.display().to_string();
    sink.finish(options, &what, &interrupt).map(|_| ())
}

/// Fails if `path` is none that [`write`] could write: this is checked before work that takes long.
/// Makes nothing.
pub(crate) fn refuse_unwritable(path: &Path) -> Result<(), Failure> {
    if is_descriptor(path) {
        return Ok(());
    }
    if path.is_dir() {
        return Err(sink::is_directory(path));
    }
    if path.exists() {
        return access(path, Access::WRITE_OK).map_err(|errno| failed(path, &errno.into()));
    }
    let directory = directory_of(path);
    access(directory, Access::WRITE_OK)
        .map_err(|errno| sink::no_directory(path, directory, &errno.into()))
}

/// The directory that holds `path`.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Fails if `path` leads to the source itself: writing there would destroy the data.
pub(crate) fn refuse_same(source: &Source, path: &Path) -> Result<(), Failure> {
    let (from, to) = (fstat(source), rustix::fs::stat(path));
    refuse(is_same(from.ok(), to.ok()), &source.name(), path.display())
}

/// Fails if `source` and `sink` are the same file: it would read its own output and grow for ever.
pub(crate) fn refuse_same_open(
    (source, from): (impl AsFd, &str),
    (sink, to): (impl AsFd, &str),
) -> Result<(), Failure> {
    refuse(is_same(fstat(source).ok(), fstat(sink).ok()), from, to)
}

fn refuse(same: bool, from: &str, to: impl Display) -> Result<(), Failure> {
    if same {
        return Err(Failure::usage(format_args!(
            "{from} and {to} are the same file"
        )));
    }
    Ok(())
}

/// Only files, FIFOs and block devices return what was written to them.
fn is_same(from: Option<Stat>, to: Option<Stat>) -> bool {
    let (Some(from), Some(to)) = (from, to) else {
        return false;
    };
    match FileType::from_raw_mode(from.st_mode) {
        FileType::RegularFile | FileType::Fifo => {
            (from.st_dev, from.st_ino) == (to.st_dev, to.st_ino)
        }
        FileType::BlockDevice => {
            FileType::from_raw_mode(to.st_mode) == FileType::BlockDevice
                && from.st_rdev == to.st_rdev
        }
        _ => false,
    }
}

fn inherited(number: RawFd, path: &Path) -> Result<OwnedFd, Failure> {
    sys::inherited(number).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Failure::failed(format_args!(
            "{}: this descriptor is not open",
            path.display()
        )),
        _ => failed(path, &error),
    })
}

/// Fails if an open descriptor cannot be used for `what`, "reading" or "writing". The engine would
/// report this too, but only once a peer has connected.
fn must_be_open_for(what: &str, fd: impl AsFd, name: &str) -> Result<(), Failure> {
    let other = match what {
        "reading" => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    match rustix::fs::fcntl_getfl(fd) {
        Ok(flags) if flags & OFlags::RWMODE == other => Err(Failure::usage(format_args!(
            "{name}: is not open for {what}"
        ))),
        _ => Ok(()),
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    let name = path.display();
    let advice = match error.kind() {
        io::ErrorKind::NotFound => advice(&name.to_string()),
        _ => String::new(),
    };
    Failure::failed(format_args!("{name}: {error}{advice}"))
}

/// A clause about a name that leads to nothing and may have been meant for something else.
fn advice(name: &str) -> String {
    if let Some(below) = name.strip_prefix("~/") {
        return format!("; the shell leaves ~ as it is in quotes: write $HOME/{below}");
    }
    if name.contains("://") && !Address::has_scheme(name) {
        return "; this is a URL, and underpass fetches none: curl does".to_owned();
    }
    match name.parse::<Address>() {
        Ok(_) => "; this is an address, and a file belongs here".to_owned(),
        Err(_) => String::new(),
    }
}
