//! The two ways to send a body, and what each costs the sending thread.

use std::fs::File;
use std::net::TcpStream;
use std::time::Instant;

use rustix::fs::sendfile;
use rustix::io::{Errno, pread};
use rustix::net::{SendFlags, send};
use serde::Serialize;

use super::LARGEST;
use crate::clock::thread_cpu;
use crate::error::{Context, Result};

/// Bytes sent for one sample: enough bodies that the cost of reading the clocks, or one lost time
/// slice, has little weight.
const BATCH: usize = 8 << 20;
/// The most bodies in one sample. Otherwise, the smallest sizes would take most of the time.
const MOST_BODIES: usize = 4096;
/// Alignment of bodies in the file: each starts at the beginning of a page.
const PAGE: usize = 4096;

/// The cost of one body.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Cost {
    pub(super) wall_ns: f64,
    pub(super) cpu_ns: f64,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    Copy,
    Sendfile,
}

/// The sending side, and everything that it reuses from body to body.
pub(super) struct Sender {
    file: File,
    socket: TcpStream,
    spread: u64,
    /// Where the next body starts in the file.
    next: u64,
    /// The head, and room for a body after it.
    buffer: Vec<u8>,
    head: usize,
    sent: u64,
}

impl Sender {
    /// Makes a sender whose bodies come from the first `spread` bytes of the file.
    pub(super) fn new(file: File, socket: TcpStream, spread: u64, head: usize) -> Self {
        Self {
            file,
            socket,
            spread,
            next: 0,
            buffer: vec![b'h'; head + LARGEST],
            head,
            sent: 0,
        }
    }

    /// Ends the connection, and returns how many bytes were sent on it.
    pub(super) fn finish(self) -> u64 {
        self.sent
    }

    /// Sends enough bodies of this size to measure the cost of one.
    pub(super) fn batch(&mut self, way: Way, size: usize) -> Result<Cost> {
        let bodies = (BATCH / size).min(MOST_BODIES);
        let (wall, cpu) = (Instant::now(), thread_cpu());
        for _ in 0..bodies {
            let offset = self.take(size);
            let sent = match way {
                Way::Copy => self.copy(offset, size),
                Way::Sendfile => self.sendfile(offset, size),
            };
            sent.context(|| format!("cannot send a body of {size} bytes"))?;
        }
        let (cpu, wall) = (thread_cpu().saturating_sub(cpu), wall.elapsed());
        self.sent += (bodies * (self.head + size)) as u64;
        Ok(Cost {
            wall_ns: wall.as_nanos() as f64 / bodies as f64,
            cpu_ns: cpu.as_nanos() as f64 / bodies as f64,
        })
    }

    /// The position of the next body. Positions go round and round through the file, from batch to
    /// batch, so that the way that goes second does not find its bytes in the processor's caches.
    fn take(&mut self, size: usize) -> u64 {
        if self.next + size as u64 > self.spread {
            self.next = 0;
        }
        let offset = self.next;
        self.next += size.next_multiple_of(PAGE) as u64;
        offset
    }

    /// Reads the body into the reused buffer behind the head, and sends both with one call.
    fn copy(&mut self, offset: u64, size: usize) -> rustix::io::Result<()> {
        let mut filled = 0;
        while filled < size {
            let room = &mut self.buffer[self.head + filled..self.head + size];
            match pread(&self.file, room, offset + filled as u64)? {
                0 => return Err(Errno::NODATA),
                read => filled += read,
            }
        }
        send_all(
            &self.socket,
            &self.buffer[..self.head + size],
            SendFlags::empty(),
        )
    }

    /// Sends the head with `MSG_MORE`, so that it shares the body's first packet, and the body by
    /// sendfile.
    fn sendfile(&self, offset: u64, size: usize) -> rustix::io::Result<()> {
        if self.head > 0 {
            send_all(&self.socket, &self.buffer[..self.head], SendFlags::MORE)?;
        }
        let (mut position, end) = (offset, offset + size as u64);
        while position < end {
            let left = (end - position) as usize;
            if sendfile(&self.socket, &self.file, Some(&mut position), left)? == 0 {
                return Err(Errno::NODATA);
            }
        }
        Ok(())
    }
}

fn send_all(socket: &TcpStream, mut bytes: &[u8], flags: SendFlags) -> rustix::io::Result<()> {
    while !bytes.is_empty() {
        let sent = send(socket, bytes, flags)?;
        bytes = &bytes[sent..];
    }
    Ok(())
}
