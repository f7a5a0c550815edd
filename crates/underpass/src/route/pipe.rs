//! Pipes to splice through, and a pool of them, because making one for each transfer is slow
//! (pitfall 13).

use std::sync::{Mutex, PoisonError};

use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;

use crate::sys::Sys;

/// 1 MiB: the default of `/proc/sys/fs/pipe-max-size`, the most an unprivileged process gets
/// (pipe(7)).
pub(crate) const WANTED_SIZE: usize = 1 << 20;

/// How many idle pipes are kept for the next transfers: 16 MiB, where the default of
/// `pipe-user-pages-soft` is 64 MiB.
const POOLED: usize = 16;

static POOL: Mutex<Vec<Pipe>> = Mutex::new(Vec::new());

/// A pipe of ours and how many bytes are in it.
#[derive(Debug)]
pub(crate) struct Pipe {
    pub(crate) read_end: OwnedFd,
    pub(crate) write_end: OwnedFd,
    pub(crate) capacity: usize,
    pub(crate) held: u64,
}

impl Pipe {
    /// Takes an empty pipe from the pool, or makes a new one as large as is allowed.
    pub(crate) fn take<K: Sys>(sys: &K) -> Result<Self, Errno> {
        let pooled = POOL.lock().unwrap_or_else(PoisonError::into_inner).pop();
        match pooled {
            Some(pipe) => Ok(pipe),
            None => Self::make(sys),
        }
    }

    fn make<K: Sys>(sys: &K) -> Result<Self, Errno> {
        let (read_end, write_end) = sys.pipe()?;
        // EPERM: over the per-user limit (pipe(7)). A pipe of the default size works too, and so
        // does one of two pages, as the kernel makes it over the soft limit.
        let capacity = match sys.set_pipe_size(write_end.as_fd(), WANTED_SIZE) {
            Ok(size) => size,
            Err(_) => rustix::pipe::fcntl_getpipe_size(&write_end)?,
        };
        Ok(Self {
            read_end,
            write_end,
            capacity,
            held: 0,
        })
    }

    /// Returns the pipe to the pool. If it still holds bytes it is closed instead; otherwise the
    /// next transfer would get them.
    pub(crate) fn put_back(self) {
        if self.held > 0 {
            return;
        }
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < POOLED {
            pool.push(self);
        }
    }
}

/// Closes the idle pipes, so that a test starts and ends with none. Returns whether all were empty.
#[cfg(test)]
pub(crate) fn empty_pool() -> bool {
    let pipes = std::mem::take(&mut *POOL.lock().unwrap_or_else(PoisonError::into_inner));
    let held = |pipe: &Pipe| rustix::io::ioctl_fionread(&pipe.read_end);
    pipes.iter().all(|pipe| held(pipe) == Ok(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::Kernel;

    #[test]
    fn pitfall_13_a_pipe_that_holds_bytes_is_never_pooled() {
        let sys = Kernel::default();
        for _ in 0..4 {
            let mut pipe = Pipe::take(&sys).unwrap();
            assert_eq!(rustix::io::ioctl_fionread(&pipe.read_end).unwrap(), 0);
            sys.write(pipe.write_end.as_fd(), b"left over").unwrap();
            pipe.held = 9;
            pipe.put_back();
        }
    }

    #[test]
    fn pitfall_13_pipes_are_enlarged() {
        let pipe = Pipe::take(&Kernel::default()).unwrap();
        assert!(pipe.capacity > 65536, "{} bytes", pipe.capacity);
    }
}
