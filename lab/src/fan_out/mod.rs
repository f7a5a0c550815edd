//! `lab fan-out`: one stream, or one file, to many subscribers. Who hands it out runs on one processor, the producer and all
//! subscribers on the other.

pub(crate) mod bare;
mod contenders;
mod file;
mod pattern;
mod producer;
mod readers;
mod running;
mod stream;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use self::contenders::{Contender, Start};
use self::producer::From;
use crate::error::{Error, Result};
use crate::header::Header;
use crate::http::series::{Measure, Series};
use crate::pin::Pinning;
use crate::rounds::in_turn;
use crate::{output, program, size, sys};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this part; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Run only those whose names contain this; may be given more than once
    #[arg(long, value_name = "NAME")]
    who: Vec<String>,
    /// How many subscribers there are; may be given more than once [default: 1, 4 and 16 for a stream, 1 and 16 for a file]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    to: Vec<u32>,
    /// Bytes that all subscribers get together
    #[arg(long, default_value = "2GiB", value_parser = size::parse)]
    size: u64,
    /// Times that each is run; one more, first, is not counted, and every byte of it is compared
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where the file is made, and removed afterwards [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place them (otherwise: who hands out on cpu 0, producer and subscribers on cpu 1)
    #[arg(long)]
    no_pin: bool,
    /// Write every sample to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// A stream from a pipe on standard input
    Pipe,
    /// A stream from a producer that connects by TCP
    Tcp,
    /// A stream from a producer that connects by a Unix socket
    Unix,
    /// A hot file
    File,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Pipe => "pipe",
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::File => "file",
        }
    }

    fn run(self, bench: &Bench<'_>) -> Result<Section> {
        match self {
            Self::Pipe => stream::run(bench, From::Pipe),
            Self::Tcp => stream::run(bench, From::Tcp),
            Self::Unix => stream::run(bench, From::Unix),
            Self::File => file::run(bench),
        }
    }
}

/// What every part is measured with.
struct Bench<'a> {
    options: &'a Options,
    underpass: Option<PathBuf>,
    pinning: Pinning,
}

/// What a part found.
struct Section {
    text: String,
    json: Value,
    /// The rows that count for nothing.
    void: Vec<String>,
}

/// One run: everything that was handed out, by one process with its children.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Sample {
    /// That all subscribers got together.
    pub(crate) bytes: u64,
    /// From the producer's first byte, or the subscribers' first request, to the last subscriber's end.
    pub(crate) seconds: f64,
    /// User and system time of the process and its children, from when all subscribers were there.
    pub(crate) cpu_s: f64,
    /// Of the producer's and the subscribers' threads.
    pub(crate) ends_cpu_s: f64,
    /// Bytes of those delivered that entered user space, as underpass tells it.
    pub(crate) copied: Option<u64>,
}

const RATE: Measure<Sample> = |sample| sample.bytes as f64 / 1e9 / sample.seconds;
const CPU_PER_GB: Measure<Sample> = |sample| sample.cpu_s * 1e9 / sample.bytes as f64;
const BUSY: Measure<Sample> = |sample| sample.cpu_s * 100.0 / sample.seconds;
const ENDS_BUSY: Measure<Sample> = |sample| sample.ends_cpu_s * 100.0 / sample.seconds;

/// Runs every part and prints each as soon as it is done.
pub(crate) fn run_all(options: &Options) -> Result<()> {
    let pinning = Pinning::new(!options.no_pin)?;
    let underpass = program::underpass(options.underpass.as_deref())?;
    let header = header(options, pinning, &program::describe(underpass.as_deref()));
    let bench = Bench {
        options,
        underpass,
        pinning,
    };
    output::print(&format!("{header}\n{}\n", bench.absent()))?;
    pinning.pin_sender()?;
    let wanted = |part: &&Part| options.only.is_empty() || options.only.contains(part);
    let mut parts = serde_json::Map::new();
    let mut void = Vec::new();
    for part in Part::value_variants().iter().filter(wanted) {
        let section = part.run(&bench)?;
        output::print(&format!("{}\n", section.text))?;
        parts.insert(part.name().to_owned(), section.json);
        void.extend(section.void);
    }
    output::save(
        options.json.as_deref(),
        || json!({ "header": header, "parts": parts }),
    )?;
    if void.is_empty() {
        return Ok(());
    }
    Err(Error::new(format!("void: {}", void.join(", "))))
}

fn header(options: &Options, pinning: Pinning, underpass: &str) -> Header {
    let rounds = format!(
        "{} of {} in all, interleaved, after one uncounted",
        options.rounds,
        size::exact(options.size)
    );
    Header::here()
        .with("rounds", rounds)
        .with(
            "placing",
            pinning.describe("who hands out", "producer and subscribers"),
        )
        .with("rivals", contenders::versions().join(", "))
        .with("underpass", underpass)
}

impl Bench<'_> {
    /// One line for each that cannot be started.
    fn absent(&self) -> String {
        let mut all = contenders::of_stream(self.underpass.as_deref(), From::Pipe);
        all.extend(contenders::of_file(self.underpass.as_deref()));
        let why = |contender: &Contender| {
            let why = contender.start.as_ref().err()?;
            Some(format!("absent: {}: {why}\n", contender.name))
        };
        let mut lines: Vec<_> = all.iter().filter_map(why).collect();
        lines.dedup();
        lines.concat()
    }

    fn to(&self, usual: &[u32]) -> Vec<u32> {
        match self.options.to.as_slice() {
            [] => usual.to_owned(),
            asked => asked.to_owned(),
        }
    }

    /// A B C … B C A …, over those that are wanted and can be started. `measure` is told the round.
    fn interleave(
        &self,
        case: &str,
        contenders: &[Contender],
        mut measure: impl FnMut(&Start, u32) -> Result<Sample>,
    ) -> Result<Vec<Series<Sample>>> {
        let who = &self.options.who;
        let wanted = |contender: &&Contender| {
            who.is_empty() || who.iter().any(|part| contender.name.contains(part))
        };
        let mut rows: Vec<_> = contenders
            .iter()
            .filter(wanted)
            .filter_map(|contender| Some((contender.start.as_ref().ok()?, contender.name)))
            .map(|(start, name)| (start, Series::new(name)))
            .collect();
        for round in 0..=self.options.rounds {
            for (start, series) in in_turn(&mut rows, round) {
                let sample = measure(start, round);
                if sys::interrupted() {
                    return Err(Error::new("interrupted"));
                }
                if let Err(why) = &sample {
                    eprintln!("lab: VOID: {case}, {}: {why}", series.name);
                }
                series.rounds.record(round, sample);
            }
        }
        Ok(rows.into_iter().map(|(_, series)| series).collect())
    }
}
