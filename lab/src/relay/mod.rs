//! `lab relay`: TCP relays side by side, each on one processor, both ends of every connection on the other.

pub(crate) mod bare;
mod bulk;
mod clock;
mod contenders;
mod crossover;
mod idle;
mod message;
mod pair;
mod ping;
mod running;
mod stream;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::contenders::{Contender, Start};
use self::running::{Carried, Running};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::http::series::Series;
use crate::pin::Pinning;
use crate::rounds::in_turn;
use crate::{output, program, sys};

/// Before the window: the queues are as large as they get, and a direction has proved to be bulk.
const WARMUP: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this part; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Run only relays whose names contain this; may be given more than once
    #[arg(long, value_name = "NAME")]
    relay: Vec<String>,
    /// Messages of 64 B to 256 KiB through underpass with either route instead: from which size splicing takes less
    #[arg(long, conflicts_with_all = ["only", "relay"])]
    crossover: bool,
    /// Times that each relay is started and measured; one more, first, is not counted, and its bytes are compared
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measurement
    #[arg(long, value_name = "S", default_value = "2", value_parser = seconds)]
    seconds: Duration,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where the file is made, and removed afterwards [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place relays and ends (otherwise: relays on cpu 0, both ends on cpu 1)
    #[arg(long)]
    no_pin: bool,
    /// Write every sample to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Throughput and CPU time of 1 and of 32 connections that are always full
    Bulk,
    /// Latency of 64-byte messages, one at a time
    Ping,
    /// Memory of connections that have nothing to do
    Idle,
}

fn seconds(text: &str) -> std::result::Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds
        .map(Duration::from_secs_f64)
        .ok_or_else(|| format!("{text:?} is not a number of seconds from 0.1 to 600"))
}

/// What every part is measured with.
struct Bench<'a> {
    options: &'a Options,
    contenders: Vec<Contender>,
    pinning: Pinning,
}

/// What a part found.
struct Section {
    text: String,
    json: Value,
    /// The rows that count for nothing.
    void: Vec<String>,
}

/// Runs every part and prints each as soon as it is done.
pub(crate) fn run_all(options: &Options) -> Result<()> {
    let pinning = Pinning::new(!options.no_pin)?;
    let underpass = program::underpass(options.underpass.as_deref())?;
    let mut contenders = match options.crossover {
        true => crossover::contenders(underpass.as_deref()),
        false => contenders::all(underpass.as_deref()),
    };
    let wanted = |name: &str| options.relay.iter().any(|part| name.contains(part));
    contenders.retain(|contender| options.relay.is_empty() || wanted(contender.name));
    let bench = Bench {
        options,
        contenders,
        pinning,
    };
    let header = bench.header(&program::describe(underpass.as_deref()));
    output::print(&format!("{header}\n{}\n", bench.absent()))?;
    pinning.pin_sender()?;
    let mut parts = serde_json::Map::new();
    let mut void = Vec::new();
    for (name, run) in bench.parts() {
        let section = run(&bench)?;
        output::print(&format!("{}\n", section.text))?;
        parts.insert(name, section.json);
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

type Run = fn(&Bench<'_>) -> Result<Section>;

impl Bench<'_> {
    fn parts(&self) -> Vec<(String, Run)> {
        if self.options.crossover {
            return vec![("crossover".to_owned(), crossover::run)];
        }
        let wanted = |part: &Part| self.options.only.is_empty() || self.options.only.contains(part);
        let parts = Part::value_variants().iter().filter(|part| wanted(part));
        let named = |part: &Part| {
            let run: Run = match part {
                Part::Bulk => bulk::run,
                Part::Ping => ping::run,
                Part::Idle => idle::run,
            };
            let name = part.to_possible_value();
            (name.map_or(String::new(), |name| name.get_name().to_owned()), run)
        };
        parts.map(named).collect()
    }

    fn header(&self, underpass: &str) -> Header {
        let options = self.options;
        let rounds = format!(
            "{} of {:?}, interleaved, after one uncounted",
            options.rounds, options.seconds
        );
        let started = self.contenders.iter();
        let started = started.filter_map(|contender| contender.start.as_ref().ok());
        let mut versions: Vec<_> = started.filter_map(Start::version).collect();
        versions.dedup();
        Header::here()
            .with("rounds", rounds)
            .with("placing", self.pinning.describe("relays", "both ends"))
            .with("rivals", versions.join(", "))
            .with("underpass", underpass)
    }

    /// One line for each relay that cannot be started.
    fn absent(&self) -> String {
        let why = |contender: &Contender| {
            let why = contender.start.as_ref().err()?;
            Some(format!("absent: {}: {why}\n", contender.name))
        };
        self.contenders.iter().filter_map(why).collect()
    }

    fn times(&self) -> (Duration, Duration) {
        (WARMUP, self.options.seconds)
    }

    /// A B C … B C A …, over the relays that are wanted and can be started. `measure` is told the round.
    fn interleave<S>(
        &self,
        part: &str,
        wanted: impl Fn(&str) -> bool,
        mut measure: impl FnMut(&Start, u32) -> Result<S>,
    ) -> Result<Vec<Series<S>>> {
        let wanted = self.contenders.iter().filter(|contender| wanted(contender.name));
        let startable = |contender: &Contender| Some((contender.start.clone().ok()?, contender.name));
        let mut rows: Vec<_> = wanted
            .filter_map(startable)
            .map(|(start, name)| (start, Series::new(name)))
            .collect();
        for round in 0..=self.options.rounds {
            for (start, series) in in_turn(&mut rows, round) {
                let sample = measure(start, round);
                if sys::interrupted() {
                    return Err(Error::new("interrupted"));
                }
                if let Err(why) = &sample {
                    eprintln!("lab: VOID: {part}, {}: {why}", series.name);
                }
                series.rounds.record(round, sample);
            }
        }
        Ok(rows.into_iter().map(|(_, series)| series).collect())
    }

    /// Runs both ends in a thread of its own, on its own processor.
    fn on_the_ends_side<T: Send>(&self, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let pinned = || {
            self.pinning.pin_sink()?;
            run()
        };
        std::thread::scope(|scope| scope.spawn(pinned).join())
            .map_err(|_| Error::new("the ends' thread died"))?
    }
}

/// Errors unless a relay that tells what it carried carried nearly all of it by the route that the part is about.
fn check_route(relay: &Running, share: impl Fn(Carried) -> f64, route: &str) -> Result<()> {
    match relay.carried()?.map(share) {
        Some(share) if share.is_nan() || share < 0.99 => Err(Error::new(format!(
            "only {:.1} % of the bytes went by {route}",
            share * 100.0
        ))),
        _ => Ok(()),
    }
}
