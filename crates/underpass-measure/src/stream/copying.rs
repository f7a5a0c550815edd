//! The classic loop: one read(2), and one write(2) for each consumer.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::Passing;
use crate::way::CALL;

pub(super) struct Copying {
    source: TcpStream,
    sinks: Vec<TcpStream>,
    buffer: Vec<u8>,
}

impl Copying {
    pub(super) fn new(source: TcpStream, sinks: Vec<TcpStream>) -> Self {
        Self {
            source,
            sinks,
            buffer: vec![0; CALL],
        }
    }
}

impl Passing for Copying {
    fn pass(&mut self) -> io::Result<u64> {
        let mut calls = 0;
        loop {
            let got = self.source.read(&mut self.buffer)?;
            calls += 1;
            if got == 0 {
                return Ok(calls);
            }
            for sink in &mut self.sinks {
                // A blocking socket takes everything in one call.
                sink.write_all(&self.buffer[..got])?;
                calls += 1;
            }
        }
    }
}
