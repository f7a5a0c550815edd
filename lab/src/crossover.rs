//! `lab crossover`: from which body size one sendfile costs less than a read and a send.
//!
//! Bodies follow each other on one connection, as responses kept alive do, to a thread that discards them. The answer
//! is the engine's constant for the crossing point between copying and sendfile.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::Instant;

use clap::Args;
use rustix::fs::sendfile;
use rustix::io::pread;
use rustix::net::{SendFlags, send};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use serde_json::json;

use crate::error::{Context, Error, Result};
use crate::header::{Header, noisy};
use crate::pin::Pinning;
use crate::stats::{Summary, ratios};
use crate::table::Table;
use crate::{output, sink, size, sys, testfile};

const SMALLEST: usize = 512;
const LARGEST: usize = 256 << 10;
/// Bytes sent for one sample: enough bodies that the clocks' own cost and one stolen slice weigh little.
const BATCH: usize = 8 << 20;
/// At most this many bodies a sample: the smallest sizes would otherwise take most of the time.
const MOST_BODIES: usize = 4096;
/// Sendfile counts as cheaper below this ratio. On the development machine the medians of equal sizes moved by up to
/// 0.03 from run to run (2 KiB: 0.97, 1.02, 1.03), so that a limit of 1.0 gave 512 B one time and 4 KiB the next.
const CLEARLY: f64 = 0.95;
/// Where files begin: a body starts at the beginning of a page.
const PAGE: usize = 4096;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Samples of each size and way
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Bodies are taken one after the other from a file of this size: small is hot in the processor's caches too
    #[arg(long, default_value = "64MiB", value_parser = size::parse)]
    spread: u64,
    /// Send this many bytes from memory before each body, as an HTTP head is: joined to the copy, or with `MSG_MORE`
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=4096))]
    head: u16,
    /// Where the file is made, and removed afterwards [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place both threads (otherwise: sender on cpu 0, drain on cpu 1)
    #[arg(long)]
    no_pin: bool,
    /// Print every sample as one JSON object in place of the table
    #[arg(long)]
    json: bool,
}

/// What one body cost.
#[derive(Debug, Clone, Copy, Serialize)]
struct Cost {
    wall_ns: f64,
    cpu_ns: f64,
}

/// All samples of one body size, in the order of the rounds.
#[derive(Debug, Serialize)]
struct Row {
    size: usize,
    copy: Vec<Cost>,
    sendfile: Vec<Cost>,
}

/// The sending side and all it reuses from body to body.
struct Sender {
    file: File,
    spread: u64,
    socket: TcpStream,
    buffer: Vec<u8>,
    head: usize,
    sent: u64,
}

#[derive(Clone, Copy)]
enum Way {
    Copy,
    Sendfile,
}

/// Measures and prints.
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
    let dir = tempfile::Builder::new()
        .prefix("lab-crossover-")
        .tempdir_in(&place);
    let dir = dir.context(|| format!("cannot make a directory in {}", place.display()))?;
    let path = testfile::make(dir.path(), "source", options.spread)?;
    let file = File::open(&path).context(|| format!("cannot open {}", path.display()))?;

    let (socket, drain) = connected_pair(pinning)?;
    pinning.pin_sender()?;
    let head = usize::from(options.head);
    let buffer = vec![b'h'; head + LARGEST];
    let sender = Sender {
        file,
        spread: options.spread,
        socket,
        buffer,
        head,
        sent: 0,
    };
    let rows = measure(sender, options.rounds, drain)?;
    print(options, &header, &rows)
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
        .with("placing", pinning.describe())
}

/// One loopback connection, its far end drained by a thread that returns the count.
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

/// Round by round through all sizes, both ways next to each other, each first in every other round.
fn measure(mut sender: Sender, rounds: u32, drain: JoinHandle<Result<u64>>) -> Result<Vec<Row>> {
    let sizes = std::iter::successors(Some(SMALLEST), |size| Some(size * 2));
    let sizes = sizes.take_while(|&size| size <= LARGEST);
    let mut rows: Vec<_> = sizes
        .map(|size| Row {
            size,
            copy: Vec::new(),
            sendfile: Vec::new(),
        })
        .collect();
    for round in 0..=rounds {
        for row in &mut rows {
            let (copy, sendfile) = if round % 2 == 0 {
                let copy = sender.batch(Way::Copy, row.size)?;
                (copy, sender.batch(Way::Sendfile, row.size)?)
            } else {
                let sendfile = sender.batch(Way::Sendfile, row.size)?;
                (sender.batch(Way::Copy, row.size)?, sendfile)
            };
            if round > 0 {
                row.copy.push(copy);
                row.sendfile.push(sendfile);
            }
        }
        if sys::interrupted() {
            return Err(Error::new("interrupted"));
        }
    }
    let sent = sender.sent;
    drop(sender);
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

impl Sender {
    fn batch(&mut self, way: Way, size: usize) -> Result<Cost> {
        let bodies = (BATCH / size).min(MOST_BODIES);
        let stride = size.max(PAGE) as u64;
        let starts = self.spread / stride;
        let (wall, cpu) = (Instant::now(), thread_cpu_ns());
        for body in 0..bodies as u64 {
            let offset = body % starts * stride;
            match way {
                Way::Copy => self.copy(offset, size),
                Way::Sendfile => self.sendfile(offset, size),
            }
            .context(|| format!("cannot send a body of {size} bytes"))?;
        }
        let (cpu, wall) = (thread_cpu_ns() - cpu, wall.elapsed());
        self.sent += (bodies * (self.head + size)) as u64;
        Ok(Cost {
            wall_ns: wall.as_nanos() as f64 / bodies as f64,
            cpu_ns: cpu / bodies as f64,
        })
    }

    /// Read into the reused buffer behind the head, then one send of both.
    fn copy(&mut self, offset: u64, size: usize) -> rustix::io::Result<()> {
        let mut filled = 0;
        while filled < size {
            let room = &mut self.buffer[self.head + filled..self.head + size];
            match pread(&self.file, room, offset + filled as u64)? {
                0 => return Err(rustix::io::Errno::NODATA),
                read => filled += read,
            }
        }
        send_all(
            &self.socket,
            &self.buffer[..self.head + size],
            SendFlags::empty(),
        )
    }

    /// The head with `MSG_MORE`, so that it shares the body's first packet, then sendfile.
    fn sendfile(&self, offset: u64, size: usize) -> rustix::io::Result<()> {
        if self.head > 0 {
            send_all(&self.socket, &self.buffer[..self.head], SendFlags::MORE)?;
        }
        let (mut position, end) = (offset, offset + size as u64);
        while position < end {
            let left = (end - position) as usize;
            if sendfile(&self.socket, &self.file, Some(&mut position), left)? == 0 {
                return Err(rustix::io::Errno::NODATA);
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

fn thread_cpu_ns() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

fn print(options: &Options, header: &Header, rows: &[Row]) -> Result<()> {
    let cheaper = crossing(rows);
    if options.json {
        let result = json!({ "header": header, "sizes": rows, "sendfile_cheaper_from": cheaper });
        return output::print(&format!("{result}\n"));
    }
    let verdict = match cheaper {
        Some(size) => format!(
            "sendfile takes clearly (5 %) less CPU from {} on",
            size::exact(size as u64)
        ),
        None => "sendfile takes clearly less CPU at no size tried".to_owned(),
    };
    let warnings: String = warning(rows)
        .map(|warning| warning + "\n")
        .unwrap_or_default();
    output::print(&format!(
        "{header}\n{}\n{NOTE}\n{warnings}{verdict}\n",
        table(rows)
    ))
}

const NOTE: &str =
    "ns a body, medians; CPU is the sending thread's own, with the kernel work done in it.
× CPU is the median over rounds of sendfile's CPU to the copy's in the same round.";

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(&[
        "body",
        "copy wall",
        "sendfile wall",
        "copy CPU",
        "sendfile CPU",
        "× CPU",
        "min–max",
    ]);
    for row in rows {
        let median = |costs: &[Cost], part: fn(&Cost) -> f64| {
            let values: Vec<_> = costs.iter().map(part).collect();
            Summary::of(&values)
                .map_or("–".to_owned(), |summary| format!("{:.0}", summary.median))
        };
        let ratio = row.cpu_ratio();
        table.row([
            size::exact(row.size as u64),
            median(&row.copy, |cost| cost.wall_ns),
            median(&row.sendfile, |cost| cost.wall_ns),
            median(&row.copy, |cost| cost.cpu_ns),
            median(&row.sendfile, |cost| cost.cpu_ns),
            ratio.map_or("–".to_owned(), |ratio| format!("{:.3}", ratio.median)),
            ratio.map_or("–".to_owned(), |ratio| {
                format!("{:.2}–{:.2}", ratio.min, ratio.max)
            }),
        ]);
    }
    table
}

impl Row {
    fn cpu_ratio(&self) -> Option<Summary> {
        let cpu = |costs: &[Cost]| costs.iter().map(|cost| cost.cpu_ns).collect::<Vec<_>>();
        Summary::of(&ratios(&cpu(&self.sendfile), &cpu(&self.copy)))
    }
}

/// The smallest size from which sendfile is clearly the cheaper, at every larger size too.
fn crossing(rows: &[Row]) -> Option<usize> {
    let cheaper = |row: &&Row| row.cpu_ratio().is_some_and(|ratio| ratio.median < CLEARLY);
    rows.iter()
        .rev()
        .take_while(cheaper)
        .last()
        .map(|row| row.size)
}

/// The copy of the largest body is the steadiest thing measured here.
fn warning(rows: &[Row]) -> Option<String> {
    let cpu: Vec<_> = rows.last()?.copy.iter().map(|cost| cost.cpu_ns).collect();
    noisy("the copy of the largest body", &Summary::of(&cpu)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(ratios: &[f64]) -> Vec<Row> {
        let cost = |cpu_ns| {
            vec![Cost {
                wall_ns: 1.0,
                cpu_ns,
            }]
        };
        let row = |(index, &ratio): (usize, &f64)| Row {
            size: 512 << index,
            copy: cost(1.0),
            sendfile: cost(ratio),
        };
        ratios.iter().enumerate().map(row).collect()
    }

    #[test]
    fn the_crossing_is_where_sendfile_stays_cheaper() {
        assert_eq!(crossing(&rows(&[1.5, 1.2, 0.9, 0.5])), Some(2048));
        assert_eq!(
            crossing(&rows(&[0.9, 1.2, 0.9, 0.5])),
            Some(2048),
            "one lucky small size is not the crossing"
        );
        assert_eq!(crossing(&rows(&[0.9, 0.8])), Some(512));
        assert_eq!(crossing(&rows(&[0.99, 0.8])), Some(1024), "1 % is noise");
        assert_eq!(crossing(&rows(&[0.9, 1.1])), None);
        assert_eq!(crossing(&[]), None);
    }
}
