//! The receiving end of a connection: takes everything, and records when it had the last byte.

use std::fs::File;
use std::io;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::thread::{JoinHandle, spawn};
use std::time::Instant;

use rustix::net::{RecvFlags, recv};
use underpass_tls::Session;

use crate::file::is_content;
use crate::pin::Processors;

const BUFFER: usize = 1 << 20;

/// The receiving end of a connection.
#[derive(Debug)]
pub(crate) enum FarEnd {
    /// It carries the bytes as they are.
    Plain(TcpStream),
    /// It carries records, which the session opens. The sender shuts it down behind the last one.
    Tls(TcpStream, Box<Session>),
}

/// What the receiver does with the bytes.
#[derive(Debug)]
pub(crate) enum Use {
    /// Discards them inside the kernel (`MSG_TRUNC` of tcp(7)), so that the receiver copies and
    /// decrypts nothing.
    Discard,
    /// Compares them with the first `bytes` of `file`, over and over.
    Compare { file: File, bytes: u64 },
}

/// A thread that receives.
#[derive(Debug)]
pub(crate) struct Receiver(JoinHandle<io::Result<Instant>>);

impl Receiver {
    /// Starts to receive `total` bytes from `far`.
    pub(crate) fn start(far: FarEnd, total: u64, what: Use, on: Processors) -> Self {
        Self(spawn(move || {
            let _pinned = on.pin_receiver();
            receive(&far, total, &what)
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

fn receive(far: &FarEnd, total: u64, what: &Use) -> io::Result<Instant> {
    match (far, what) {
        (FarEnd::Plain(socket), Use::Discard) => take(total, what, |buffer| {
            take_some(socket, buffer, RecvFlags::TRUNC)
        }),
        (FarEnd::Plain(socket), Use::Compare { .. }) => take(total, what, |buffer| {
            take_some(socket, buffer, RecvFlags::empty())
        }),
        (FarEnd::Tls(socket, _), Use::Discard) => discard_records(socket, total),
        (FarEnd::Tls(socket, session), Use::Compare { .. }) => take(total, what, |buffer| {
            session.receive(socket.as_fd(), buffer)
        }),
    }
}

fn take(
    total: u64,
    what: &Use,
    mut some: impl FnMut(&mut [u8]) -> io::Result<usize>,
) -> io::Result<Instant> {
    let mut buffer = vec![0; BUFFER];
    let mut at = 0;
    while at < total {
        let count = some(&mut buffer)?;
        if count == 0 {
            return Err(ended_early(at, total));
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

fn take_some(socket: &TcpStream, buffer: &mut [u8], flags: RecvFlags) -> io::Result<usize> {
    Ok(recv(socket, buffer, flags)?.1)
}

/// Discards records up to the end of the stream: how long they are together depends on where the
/// sender ends them. They are longer than the `total` bytes that are in them.
fn discard_records(socket: &TcpStream, total: u64) -> io::Result<Instant> {
    let mut buffer = vec![0; BUFFER];
    let (mut at, mut last) = (0, Instant::now());
    loop {
        let count = take_some(socket, &mut buffer, RecvFlags::TRUNC)?;
        if count == 0 && at <= total {
            return Err(ended_early(at, total));
        }
        if count == 0 {
            return Ok(last);
        }
        last = Instant::now();
        at += count as u64;
    }
}

fn ended_early(at: u64, total: u64) -> io::Error {
    io::Error::other(format!("the receiver got {at} of {total} bytes"))
}
