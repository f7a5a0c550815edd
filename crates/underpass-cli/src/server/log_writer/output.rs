//! The output of a log: standard output, or a file that can be opened again after it was renamed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::exit::Failure;
use crate::io::StandardStream;

pub(crate) enum Output {
    Standard,
    File(PathBuf, File),
}

impl Output {
    /// Opens the file to append to it, or checks that standard output is open. `name` is what
    /// messages call the log.
    pub(crate) fn open(name: &str, path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            StandardStream::Output.needed_for(name)?;
            return Ok(Self::Standard);
        };
        let file = append(path).map_err(|error| {
            Failure::failed(format_args!("{name}: {}: {error}", path.display()))
        })?;
        Ok(Self::File(path.to_owned(), file))
    }

    /// The name for messages.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Standard => StandardStream::Output.name().to_owned(),
            Self::File(path, _) => path.display().to_string(),
        }
    }

    /// Writes all of `bytes`. An error says how many were written before it.
    pub(super) fn write_all(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write(&bytes[written..]) {
                Ok(0) => return Err((written, io::ErrorKind::WriteZero.into())),
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err((written, error)),
            }
        }
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File(_, file) => file.write(bytes),
            Self::Standard => StandardStream::Output.write(bytes),
        }
    }

    /// Whether the reader is gone for good.
    pub(super) fn is_over(&self, error: &io::Error) -> bool {
        matches!(self, Self::Standard) && error.kind() == io::ErrorKind::BrokenPipe
    }

    /// Opens the file that is at the path now, after logrotate(8) has renamed or removed the old
    /// one. If that fails, the old file stays in use.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        if let Self::File(path, file) = self {
            let old = std::mem::replace(file, append(path)?);
            underpass::atomic_file::close(old)?;
        }
        Ok(())
    }

    /// Checks that everything was written: network file systems may report a full disk only when
    /// the file is closed.
    pub(super) fn check(&self) -> io::Result<()> {
        match self {
            Self::Standard => StandardStream::Output.check(),
            Self::File(_, file) => underpass::atomic_file::close(file.try_clone()?),
        }
    }
}

/// Opens the file to append to it. Opening a FIFO that nobody reads would block, and would also
/// block the signal to stop. So it is an error.
fn append(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    options.custom_flags(OFlags::NONBLOCK.bits().cast_signed());
    let file = match options.open(path) {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::NXIO) => {
            let reason = format!("{error}; nobody reads this FIFO: start its reader first");
            return Err(io::Error::new(error.kind(), reason));
        }
        opened => opened?,
    };
    rustix::io::ioctl_fionbio(&file, false)?;
    Ok(file)
}
