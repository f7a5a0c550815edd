//! The receiving end of a connection: takes everything, and records when it had the last byte.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

use rustix::net::{RecvFlags, recv};

use crate::file::is_content;
use crate::pin::Processors;

const BUFFER: usize = 1 << 20;

/// What the receiver does with the bytes.
#[derive(Debug)]
pub(crate) enum Use {
    /// Discards them inside the kernel (`MSG_TRUNC` of tcp(7)), so that the receiver copies
    /// nothing.
    Discard,
    /// Compares them with the first `bytes` of `file`, over and over.
    Compare { file: File, bytes: u64 },
}

/// A thread that receives.
#[derive(Debug)]
pub(crate) struct Receiver(JoinHandle<io::Result<Instant>>);

impl Receiver {
    /// Starts to receive `total` bytes from `socket`.
    pub(crate) fn start(socket: TcpStream, total: u64, what: Use, on: Processors) -> Self {
        Self(spawn(move || {
            let _pinned = on.pin_receiver();
            receive(&socket, total, &what)
        }))
    }

    /// Waits for the end, and returns when the last byte came.
    ///
    /// # Errors
    ///
    /// The connection ended before that, or carried other bytes.
    pub(crate) fn wait(self) -> io::Result<Instant> {
        let ended = self.0.join();
        ended.unwrap_or_else(|_| Err(io::Error::other("the receiving thread panicked")))
    }
}

fn receive(socket: &TcpStream, total: u64, what: &Use) -> io::Result<Instant> {
    let mut buffer = vec![0; BUFFER];
    let flags = match what {
        Use::Discard => RecvFlags::TRUNC,
        Use::Compare { .. } => RecvFlags::empty(),
    };
    let mut at = 0;
    while at < total {
        let (_, count) = recv(socket.as_fd(), &mut buffer[..], flags)?;
        if count == 0 {
            return Err(io::Error::other(format!(
                "the receiver got {at} of {total} bytes"
            )));
        }
        if let Use::Compare { file, bytes } = what
            && !is_content(file, *bytes, at, &buffer[..count])
        {
            return Err(io::Error::other(format!(
                "wrong bytes arrived after byte {at}"
            )));
        }
        at += count as u64;
    }
    Ok(Instant::now())
}
