//! The producer of a stream: a file, sent by another thread, so that its cost is not counted for
//! the measured thread.

use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpStream};
use std::thread::{JoinHandle, spawn};

use rustix::fs::sendfile;

use crate::pin::Processors;

/// A thread that sends.
pub(super) struct Producer(JoinHandle<io::Result<()>>);

impl Producer {
    /// Sends the first `bytes` of `file`, and ends the stream.
    pub(super) fn start(to: TcpStream, file: File, bytes: u64, on: Processors) -> Self {
        Self(spawn(move || {
            let _pinned = on.pin_receiver();
            produce(&to, &file, bytes)
        }))
    }

    /// # Errors
    ///
    /// The connection or the file ended early.
    pub(super) fn wait(self) -> io::Result<()> {
        let ended = self.0.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the producing thread panicked")))
    }
}

fn produce(to: &TcpStream, file: &File, bytes: u64) -> io::Result<()> {
    let mut at = 0;
    while at < bytes {
        let left = (bytes - at) as usize;
        if sendfile(to, file, Some(&mut at), left)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    to.shutdown(Shutdown::Write)
}
