//! `lab crossover`: from which body size on one sendfile costs less than a read and a send.
//!
//! Bodies follow each other on one connection, like responses on a kept connection, to a thread
//! that discards them. The result is the engine's constant for the crossing point between copying
//! and sendfile.

mod report;
mod sender;

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

use clap::Args;
use serde::Serialize;

use self::sender::{Cost, Sender, Way};
use crate::error::{Context, Error, Result};
use crate::header::Header;
use crate::pin::Pinning;
use crate::{sink, size, sys, testfile};

const SMALLEST: usize = 512;
const LARGEST: usize = 256 << 10;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of samples of each size and way
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bodies are taken in turn from a file of this size; with a small file they are in the
    /// processor's caches too
    #[arg(long, default_value = "64MiB", value_parser = size::parse)]
    spread: u64,
    /// Send this many bytes from memory before each body, like an HTTP head: joined to the copy, or
    /// with `MSG_MORE`
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=4096))]
    head: u16,
    /// Where to make the file, which is removed afterwards [default: the system's temporary
    /// directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place both threads (otherwise: sender on cpu 0, receiver on cpu 1)
    #[arg(long)]
    no_pin: bool,
    /// Also write every sample to this file, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// All samples of one body size, in the order of the rounds.
#[derive(Debug, Serialize)]
struct Row {
    size: usize,
    copy: Vec<Cost>,
    sendfile: Vec<Cost>,
}

/// Measures, and prints the result.
pub(crate) fn run(options: &Options) -> Result<()> {
    let pinning = Pinning::new(!options.no_pin)?;
    let header = header(options, pinning);
    if options.spread < LARGEST as u64 {
        let least = size::exact(LARGEST as u64);
        return Err(Error::new(format!(
            "--spread must be at least {least}, the largest body"
        )));
    }
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&place, options.spread)?;
    let dir = testfile::work_dir(&place)?;
    let path = testfile::make(dir.path(), "source", options.spread)?;
    let file = File::open(&path).context(|| format!("cannot open {}", path.display()))?;

    let (socket, drain) = connected_pair(pinning)?;
    pinning.pin_sender()?;
    let sender = Sender::new(file, socket, options.spread, usize::from(options.head));
    let rows = measure(sender, options.rounds, drain)?;
    report::print(options.json.as_deref(), &header, &rows)
}

fn header(options: &Options, pinning: Pinning) -> Header {
    Header::here()
        .with(
            "file",
            format!("{}, hot in the page cache", size::exact(options.spread)),
        )
        .with("head", format!("{} bytes before each body", options.head))
        .with(
            "rounds",
            format!("{}, interleaved, after one uncounted", options.rounds),
        )
        .with("placing", pinning.describe("senders", "sink"))
}

/// Makes one loopback connection. A thread reads its far end and returns the number of bytes.
fn connected_pair(pinning: Pinning) -> Result<(TcpStream, JoinHandle<Result<u64>>)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .context(|| "cannot listen on loopback".into())?;
    let addr = listener
        .local_addr()
        .context(|| "cannot read the port".into())?;
    let socket = TcpStream::connect(addr).context(|| format!("cannot connect to {addr}"))?;
    socket
        .set_nodelay(true)
        .context(|| "cannot set TCP_NODELAY".into())?;
    let (far_end, _) = listener.accept().context(|| "cannot accept".into())?;
    let drain = thread::spawn(move || {
        pinning.pin_sink()?;
        sink::drain(&far_end)
    });
    Ok((socket, drain))
}

/// Measures all sizes round by round. The two ways run next to each other, and take turns in going
/// first.
fn measure(mut sender: Sender, rounds: u32, drain: JoinHandle<Result<u64>>) -> Result<Vec<Row>> {
    let sizes = std::iter::successors(Some(SMALLEST), |size| Some(size * 2));
    let sizes = sizes.take_while(|&size| size <= LARGEST);
    let mut rows: Vec<_> = sizes.map(Row::new).collect();
    for round in 0..=rounds {
        for row in &mut rows {
            row.sample(&mut sender, round)?;
        }
        if sys::interrupted() {
            return Err(Error::new("interrupted"));
        }
    }
    let sent = sender.finish();
    let received = drain
        .join()
        .map_err(|_| Error::new("the draining thread died"))??;
    if received != sent {
        return Err(Error::new(format!(
            "VOID: {received} of {sent} bytes were received"
        )));
    }
    Ok(rows)
}

impl Row {
    fn new(size: usize) -> Self {
        Self {
            size,
            copy: Vec::new(),
            sendfile: Vec::new(),
        }
    }

    /// Takes one sample of each way; round 0 is not counted.
    fn sample(&mut self, sender: &mut Sender, round: u32) -> Result<()> {
        let mut order = [Way::Copy, Way::Sendfile];
        if round % 2 == 1 {
            order.reverse();
        }
        for way in order {
            let cost = sender.batch(way, self.size)?;
            let samples = match way {
                Way::Copy => &mut self.copy,
                Way::Sendfile => &mut self.sendfile,
            };
            if round > 0 {
                samples.push(cost);
            }
        }
        Ok(())
    }
}
