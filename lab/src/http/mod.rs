//! `lab http`: file servers side by side, each on one processor, the load on the other.

pub(crate) mod bare;
mod beside;
mod big;
mod check;
pub(crate) mod goal;
mod histogram;
mod idle;
mod load;
mod response;
mod running;
pub(crate) mod series;
mod servers;
mod small;
mod throttle;
pub(crate) mod tower;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use self::series::Series;
use self::servers::{Server, Start};
use crate::error::{Context, Error, Result};
use crate::header::Header;
use crate::pin::Pinning;
use crate::rounds::in_turn;
use crate::{output, program, size, sys, testfile};

/// Before the window: caches are filled and the connections are all under way.
const WARMUP: Duration = Duration::from_millis(300);

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Run only this part; may be given more than once
    #[arg(long, value_name = "NAME")]
    only: Vec<Part>,
    /// Run only servers whose names contain this; may be given more than once
    #[arg(long, value_name = "NAME")]
    server: Vec<String>,
    /// Times that each server is started and measured; one more, first, is not counted, and its bytes are compared
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Length of each measurement
    #[arg(long, value_name = "S", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Size of the big file
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    size: u64,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where the files are made, and removed afterwards [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place servers and load (otherwise: servers on cpu 0, load on cpu 1)
    #[arg(long)]
    no_pin: bool,
    /// Write every sample to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Requests a second for hot files of 1 KiB to 1 MiB
    Small,
    /// Throughput and CPU time of one large hot file
    Big,
    /// Memory of idle connections
    Idle,
    /// Latency of a small hot file beside clients of cold files
    Cold,
    /// Latency of a small hot file beside clients of a large hot one
    Fair,
}

/// What every part is measured with.
struct Bench<'a> {
    options: &'a Options,
    servers: Vec<Server>,
    /// The directory that is served.
    root: &'a Path,
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
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = testfile::work_dir(&place)?;
    let mut servers = servers::all(underpass.as_deref());
    let wanted = |name: &str| options.server.iter().any(|part| name.contains(part));
    servers.retain(|server| options.server.is_empty() || wanted(server.name));
    let header = header(options, pinning, underpass.as_deref(), &servers);
    let bench = Bench {
        options,
        servers,
        root: dir.path(),
        pinning,
    };

    output::print(&format!("{header}\n{}\n", bench.absent()))?;
    pinning.pin_sender()?;
    let mut parts = serde_json::Map::new();
    let mut void = Vec::new();
    for &part in Part::value_variants() {
        if !options.only.is_empty() && !options.only.contains(&part) {
            continue;
        }
        let section = match part {
            Part::Small => small::run(&bench)?,
            Part::Big => big::run(&bench)?,
            Part::Idle => idle::run(&bench)?,
            Part::Cold => beside::cold(&bench)?,
            Part::Fair => beside::fair(&bench)?,
        };
        output::print(&format!("{}\n", section.text))?;
        let name = part.to_possible_value();
        let name = name.map_or(String::new(), |name| name.get_name().to_owned());
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

fn header(
    options: &Options,
    pinning: Pinning,
    underpass: Option<&Path>,
    servers: &[Server],
) -> Header {
    let rounds = format!(
        "{} of {} s, interleaved, after one uncounted",
        options.rounds, options.seconds
    );
    let started = servers
        .iter()
        .filter_map(|server| server.start.as_ref().ok());
    let mut versions: Vec<_> = started.filter_map(Start::version).collect();
    versions.dedup();
    Header::here()
        .with("rounds", rounds)
        .with("placing", pinning.describe("servers", "load"))
        .with("rivals", versions.join(", "))
        .with("underpass", program::describe(underpass))
}

impl Bench<'_> {
    /// One line for each server that cannot be started.
    fn absent(&self) -> String {
        let why = |server: &Server| {
            let why = server.start.as_ref().err()?;
            Some(format!("absent: {}: {why}\n", server.name))
        };
        self.servers.iter().filter_map(why).collect()
    }

    fn window(&self) -> Duration {
        Duration::from_secs(self.options.seconds.into())
    }

    /// A B C … B C A …, over the servers that are wanted and can be started. `measure` is told the round.
    fn interleave<S>(
        &self,
        part: &str,
        wanted: impl Fn(&str) -> bool,
        mut measure: impl FnMut(&Start, u32) -> Result<S>,
    ) -> Result<Vec<Series<S>>> {
        let wanted = self.servers.iter().filter(|server| wanted(server.name));
        let startable = |server: &Server| Some((server.start.clone().ok()?, server.name));
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

    /// Runs the load in a thread of its own, on its own processor.
    fn on_load_side<T: Send>(&self, run: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let pinned = || {
            self.pinning.pin_sink()?;
            run()
        };
        std::thread::scope(|scope| scope.spawn(pinned).join())
            .map_err(|_| Error::new("the load's thread died"))?
    }

    fn file(&self, name: &str, size: u64) -> Result<PathBuf> {
        testfile::check_space(self.root, size)?;
        testfile::make(self.root, name, size)
    }
}

fn remove(file: &Path) -> Result<()> {
    std::fs::remove_file(file).context(|| format!("cannot remove {}", file.display()))
}
