//! Small files that are read whole.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// How long a pipe may take to give all of it. Somebody may have to type a password first.
const LONGEST: Duration = Duration::from_secs(60);

/// Reads a whole file of settings, certificates or passwords. It may be a pipe, as of the shell's
/// `<(command)`. What was named by mistake costs neither much memory nor much time: a device that
/// has no end, or a FIFO that nobody writes.
///
/// # Errors
/// Those of opening and reading; `FileTooLarge` if it has more than `most` bytes; `TimedOut` if a
/// pipe is not at its end after a minute.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let error = underpass::read_small_file("/dev/zero", 1 << 20).unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::FileTooLarge);
/// # Ok(())
/// # }
/// ```
pub fn read_small_file(path: impl AsRef<Path>, most: usize) -> io::Result<Vec<u8>> {
    read_within(path.as_ref(), most, LONGEST)
}

fn read_within(path: &Path, most: usize, limit: Duration) -> io::Result<Vec<u8>> {
    // Opening a FIFO that nobody writes would block.
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags.bits().cast_signed());
    let mut file = options.open(path)?;
    let begin = Instant::now();
    let (mut bytes, mut piece) = (Vec::new(), [0; 8 << 10]);
    loop {
        // A FIFO that had no writer yet would seem to be empty.
        let mut readable = [PollFd::new(&file, PollFlags::IN)];
        let left = Timespec::try_from(limit.saturating_sub(begin.elapsed())).ok();
        match poll(&mut readable, left.as_ref()) {
            Ok(0) => {
                let told = format!("nothing more came from it for {} s", limit.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, told));
            }
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        match file.read(&mut piece) {
            Ok(0) => return Ok(bytes),
            Ok(count) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if bytes.len() > most {
            let told = format!("it has more than {most} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, told));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    use std::os::fd::AsRawFd as _;
    use tempfile::TempDir;

    #[test]
    fn files_devices_and_directories() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![7; 20_000]).unwrap();
        assert_eq!(read_small_file(&path, 20_000).unwrap(), vec![7; 20_000]);
        let kind = |path: &Path, most| read_small_file(path, most).unwrap_err().kind();
        assert_eq!(kind(&path, 19_999), io::ErrorKind::FileTooLarge);
        assert_eq!(kind(dir.path(), 10), io::ErrorKind::IsADirectory);
        assert_eq!(kind(&dir.path().join("no"), 10), io::ErrorKind::NotFound);
        let null = read_small_file("/dev/null", 10).unwrap();
        assert!(null.is_empty());
    }

    #[test]
    fn a_pipe_is_read_to_its_end_by_pieces() {
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", reader.as_raw_fd());
        let writing = std::thread::spawn(move || {
            for _ in 0..3 {
                io::Write::write_all(&mut writer, &vec![1; 50_000]).unwrap();
            }
        });
        assert_eq!(read_small_file(path, 150_000).unwrap().len(), 150_000);
        writing.join().unwrap();
    }

    #[test]
    fn a_fifo_waits_for_its_writer_and_not_for_ever() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("fifo");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let error = read_within(&path, 10, Duration::ZERO).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let written = path.clone();
        // This waits for the reader.
        let writing = std::thread::spawn(move || std::fs::write(written, b"late"));
        assert_eq!(read_small_file(&path, 10).unwrap(), b"late");
        writing.join().unwrap().unwrap();
    }
}
