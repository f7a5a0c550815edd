//! `lab copy`: one file to a new one on the same file system, by every copier in turn.

mod copiers;
mod places;
mod report;

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use self::copiers::{Copier, Form, Program};
use self::places::Place;
use self::report::Report;
use crate::error::{Context, Error, Result};
use crate::header::Header;
use crate::receipt::Receipt;
use crate::rounds::{Rounds, in_turn};
use crate::run::{Finished, run};
use crate::{program, size, sys, testfile};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Size of the file that is copied
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    size: u64,
    /// Times that each copier is run; one more, first, is not counted, and its copy is compared byte for byte
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Run only the copiers whose names contain this; cp, which the others are held against, always runs
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where files and, for root, images of btrfs and XFS are made, and removed afterwards [default: the system's
    /// temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Write every sample to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One run of one copier that made a whole copy.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    wall_s: f64,
    user_s: f64,
    system_s: f64,
    route: Option<String>,
    syscalls: Option<u64>,
}

/// One row of the result.
struct Series {
    copier: Copier,
    rounds: Rounds<Sample>,
}

/// One table of the result: the rows, or why there are none.
struct OnePlace {
    name: String,
    series: std::result::Result<Vec<Series>, String>,
}

/// Runs the comparison and prints it.
pub(crate) fn run_all(options: &Options) -> Result<()> {
    let underpass = program::underpass(options.underpass.as_deref())?;
    if let Some(binary) = &underpass {
        program::as_installed(binary)?;
    }
    let dir = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let mut places = vec![on(
        &Place::plain(&dir, options.size)?,
        options,
        underpass.as_deref(),
    )?];
    for (kind, mkfs_args) in places::LOOPS {
        // Made and taken away one after the other: only one image needs room at a time.
        let place = Place::on_loop(&dir, kind, mkfs_args, options.size);
        stop_if_interrupted()?;
        places.push(match place {
            Ok(place) => on(&place, options, underpass.as_deref())?,
            Err(why) => OnePlace {
                name: format!("{kind} on loop"),
                series: Err(why.to_string()),
            },
        });
    }
    let report = Report {
        header: header(options, underpass.as_deref()),
        size: options.size,
        places,
    };
    report.print(options.json.as_deref())?;
    report.verdict()
}

fn header(options: &Options, underpass: Option<&Path>) -> Header {
    Header::here()
        .with(
            "file",
            format!("{}, hot in the page cache", size::exact(options.size)),
        )
        .with(
            "rounds",
            format!("{}, interleaved, after one uncounted", options.rounds),
        )
        .with("underpass", program::describe(underpass))
}

fn on(place: &Place, options: &Options, underpass: Option<&Path>) -> Result<OnePlace> {
    let from = testfile::make(&place.path, "source", options.size)?;
    let copiers = copiers::all(underpass).into_iter();
    let wanted = |name: &str| {
        options
            .only
            .as_deref()
            .is_none_or(|only| name.contains(only))
    };
    let mut series: Vec<_> = copiers
        .enumerate()
        .filter(|(at, copier)| *at == 0 || wanted(copier.name))
        .map(|(_, copier)| copier)
        .map(|copier| Series {
            copier,
            rounds: Rounds::new(),
        })
        .collect();
    for round in 0..=options.rounds {
        for Series { copier, rounds } in in_turn(&mut series, round) {
            let Ok(program) = &copier.program else {
                continue;
            };
            let sample = measure(program, place, &from, round == 0);
            stop_if_interrupted()?;
            if let Err(why) = &sample {
                eprintln!("lab: VOID: {}, {}: {why}", place.name, copier.name);
            }
            rounds.record(round, sample);
        }
    }
    Ok(OnePlace {
        name: place.name.clone(),
        series: Ok(series),
    })
}

fn stop_if_interrupted() -> Result<()> {
    if sys::interrupted() {
        Err(Error::new("interrupted"))
    } else {
        Ok(())
    }
}

/// One copy. What it wrote is gone and on the disk before the next begins: nobody pays for another's write-back.
fn measure(program: &Program, place: &Place, from: &Path, compare: bool) -> Result<Sample> {
    let to = place.path.join("copy");
    settle(place, &to)?;
    let finished = run(&program.invocation(from, &to)?)?;
    let bytes = fs::metadata(from)
        .context(|| format!("cannot look at {}", from.display()))?
        .len();
    let copied = fs::metadata(&to)
        .context(|| format!("cannot look at {}", to.display()))?
        .len();
    if copied != bytes || (compare && !testfile::same_content(from, &to)?) {
        return Err(Error::new(format!(
            "the copy differs: {copied} bytes of {bytes}"
        )));
    }
    let sample = sample(program, place, &finished, bytes);
    settle(place, &to)?;
    sample
}

/// Removes the copy and writes everything back.
fn settle(place: &Place, copy: &Path) -> Result<()> {
    match fs::remove_file(copy) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context(|| format!("cannot remove {}", copy.display()));
        }
        _ => {}
    }
    let dir =
        File::open(&place.path).context(|| format!("cannot open {}", place.path.display()))?;
    rustix::fs::syncfs(&dir).context(|| format!("cannot sync {}", place.path.display()))
}

fn sample(program: &Program, place: &Place, finished: &Finished, bytes: u64) -> Result<Sample> {
    let mut sample = Sample {
        wall_s: finished.wall.as_secs_f64(),
        user_s: finished.usage.user_s,
        system_s: finished.usage.system_s,
        route: None,
        syscalls: None,
    };
    if let Program::Underpass(_, Form::Json) = program {
        let receipt = Receipt::parse(&finished.stdout)?;
        receipt.check(bytes, place.shares_extents.then_some("reflink"))?;
        sample.syscalls = receipt.syscalls;
        sample.route = receipt.route;
    }
    Ok(sample)
}
