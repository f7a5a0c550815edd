//! Helpers that the integration tests share.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread::JoinHandle;

pub(crate) mod peers;

#[allow(unused_imports, reason = "as above")]
pub(crate) use underpass_testing::needs;

/// Random bytes, the same for the same seed (xorshift64*).
pub(crate) fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    })
    .take(length)
    .collect()
}

/// An unnamed file that contains `bytes`, with its position at 0.
pub(crate) fn file_of(bytes: &[u8]) -> File {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// The whole content of `file`; its position does not change.
pub(crate) fn whole(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Reads `from` to its end on a thread.
pub(crate) fn collect(from: impl Into<OwnedFd>) -> JoinHandle<Vec<u8>> {
    let mut from = File::from(from.into());
    std::thread::spawn(move || {
        let mut got = Vec::new();
        from.read_to_end(&mut got).unwrap();
        got
    })
}

/// A pair of connected TCP sockets.
pub(crate) fn tcp_pair() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (near, listener.accept().unwrap().0)
}

/// Writes until `fd` takes no more, without waiting. Returns how much was written.
pub(crate) fn fill(fd: &impl rustix::fd::AsFd) -> u64 {
    let flags = rustix::fs::fcntl_getfl(fd).unwrap();
    rustix::fs::fcntl_setfl(fd, flags | rustix::fs::OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    while let Ok(count) = rustix::io::write(fd, &[b'f'; 4096]) {
        filled += count as u64;
    }
    rustix::fs::fcntl_setfl(fd, flags).unwrap();
    filled
}

/// A thread of which it can be seen whether it sleeps in the kernel.
pub(crate) struct Watched<T> {
    thread: JoinHandle<T>,
    id: i32,
}

/// Runs `work` on a thread of its own.
pub(crate) fn watched<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Watched<T> {
    let (sender, receiver) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        sender
            .send(rustix::thread::gettid().as_raw_nonzero().get())
            .unwrap();
        work()
    });
    let id = receiver.recv().unwrap();
    Watched { thread, id }
}

impl<T> Watched<T> {
    /// Returns when the thread sleeps in poll(2). A thread that spins instead fails the test.
    pub(crate) fn until_it_waits(&self) {
        let poll = [libc::SYS_poll, libc::SYS_ppoll];
        for _ in 0..20_000_000 {
            // The number of the system call that it sleeps in (proc(5)), or `running`. The file is
            // gone if the thread has ended.
            let path = format!("/proc/self/task/{}/syscall", self.id);
            let line = std::fs::read_to_string(path).unwrap_or_default();
            let number = line.split(' ').next().and_then(|n| n.parse().ok());
            if number.is_some_and(|number| poll.contains(&number)) {
                return;
            }
            assert!(!self.thread.is_finished(), "it ended instead of waiting");
            std::thread::yield_now();
        }
        panic!("it never sleeps: it spins");
    }

    /// Waits for the thread, and returns its result.
    pub(crate) fn join(self) -> T {
        self.thread.join().unwrap()
    }
}

/// A file system in a file, mounted until this is dropped.
pub(crate) struct Mounted {
    directory: tempfile::TempDir,
    at: PathBuf,
}

impl Mounted {
    /// Mounts a btrfs. Needs root, loop devices and `mkfs.btrfs`; the error says which is missing.
    pub(crate) fn btrfs() -> Result<Self, String> {
        let directory = tempfile::tempdir().map_err(|e| e.to_string())?;
        let (image, at) = (directory.path().join("image"), directory.path().join("at"));
        let made = File::create(&image).and_then(|file| file.set_len(256 << 20));
        made.and_then(|()| std::fs::create_dir(&at))
            .map_err(|e| e.to_string())?;
        run(Command::new("mkfs.btrfs").arg("-q").arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &at]))?;
        Ok(Self { directory, at })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = run(Command::new("umount").arg("-l").arg(&self.at));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{command:?}: {said}"))
}

/// A socket pair that nobody reads until it is asked for.
pub(crate) fn unix_pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().unwrap()
}
