//! `lab send`: one file to a discarding sink, by every sender in turn.

mod report;
mod senders;

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use self::report::Report;
use self::senders::{Program, Route, Sender};
use crate::error::{Error, Result};
use crate::header::Header;
use crate::pin::Pinning;
use crate::receipt::Receipt;
use crate::rounds::{Rounds, in_turn};
use crate::run::{Finished, run};
use crate::sink::{Received, Sink};
use crate::{program, size, sys, testfile};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Size of the file that is sent
    #[arg(long, default_value = "1GiB", value_parser = size::parse)]
    size: u64,
    /// Times that each sender is run; one more, first, is not counted
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// Where the file is made, and removed afterwards [default: the system's temporary directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place sender and sink (otherwise: senders on cpu 0, sink on cpu 1)
    #[arg(long)]
    no_pin: bool,
    /// Write every sample to this file too, as one JSON object
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One run of one sender that delivered every byte by the right route.
#[derive(Debug, Clone, Serialize)]
struct Sample {
    bytes: u64,
    first_byte_to_eof_s: f64,
    accept_to_eof_s: f64,
    process_wall_s: f64,
    user_s: f64,
    system_s: f64,
    /// The transferring thread alone, where the sender tells (Java).
    thread_cpu_s: Option<f64>,
    route: Option<String>,
    syscalls: Option<u64>,
}

/// One row of the result.
struct Series {
    sender: Sender,
    rounds: Rounds<Sample>,
}

/// Runs the comparison and prints it.
pub(crate) fn run_all(options: &Options) -> Result<()> {
    let pinning = Pinning::new(!options.no_pin)?;
    let underpass = program::underpass(options.underpass.as_deref())?;
    let header = header(options, pinning, underpass.as_deref());
    let place = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    testfile::check_space(&place, options.size)?;
    let dir = testfile::work_dir(&place)?;

    let senders = senders::all(underpass.as_deref());
    let file = testfile::make(dir.path(), "source", options.size)?;
    // Only now: javac and the filling of the file may use every processor.
    pinning.pin_sender()?;
    let series = interleave(senders, options, &file, pinning)?;

    let report = Report {
        header,
        size: options.size,
        series,
    };
    report.print(options.json.as_deref())?;
    report.verdict()
}

fn header(options: &Options, pinning: Pinning, underpass: Option<&Path>) -> Header {
    let file = format!("{}, hot in the page cache", size::exact(options.size));
    let rounds = format!("{}, interleaved, after one uncounted", options.rounds);
    Header::here()
        .with("file", file)
        .with("rounds", rounds)
        .with("placing", pinning.describe("senders", "sink"))
        .with("underpass", program::describe(underpass))
}

/// A B C … B C A …, so that a slow minute of the machine falls on everyone alike.
fn interleave(
    senders: Vec<Sender>,
    options: &Options,
    file: &Path,
    pinning: Pinning,
) -> Result<Vec<Series>> {
    let mut series: Vec<_> = senders
        .into_iter()
        .map(|sender| Series {
            sender,
            rounds: Rounds::new(),
        })
        .collect();
    for round in 0..=options.rounds {
        for Series { sender, rounds } in in_turn(&mut series, round) {
            let Ok(program) = &sender.program else {
                continue;
            };
            let sample = measure(program, file, options.size, pinning);
            if sys::interrupted() {
                return Err(Error::new("interrupted"));
            }
            if let Err(why) = &sample {
                eprintln!("lab: VOID: {}: {why}", sender.name);
            }
            rounds.record(round, sample);
        }
    }
    Ok(series)
}

fn measure(program: &Program, file: &Path, size: u64, pinning: Pinning) -> Result<Sample> {
    let sink = Sink::start(pinning)?;
    let finished = program
        .invocation(file, sink.port())
        .and_then(|invocation| run(&invocation));
    let received = sink.finish();
    // A sender that failed explains more than the sink that it left waiting.
    let (finished, received) = (finished?, received?);
    if received.bytes != size {
        return Err(Error::new(format!(
            "the sink received {} of {size} bytes",
            received.bytes
        )));
    }
    sample(program, &finished, received)
}

fn sample(program: &Program, finished: &Finished, received: Received) -> Result<Sample> {
    let mut sample = Sample {
        bytes: received.bytes,
        first_byte_to_eof_s: received.first_byte_to_eof_s,
        accept_to_eof_s: received.accept_to_eof_s,
        process_wall_s: finished.wall.as_secs_f64(),
        user_s: finished.usage.user_s,
        system_s: finished.usage.system_s,
        thread_cpu_s: None,
        route: None,
        syscalls: None,
    };
    match program {
        Program::Child(_) => {}
        Program::Underpass {
            route: Route::Planned(route) | Route::Forced(route),
            ..
        } => {
            let receipt = Receipt::parse(&finished.stdout)?;
            receipt.check(received.bytes, Some(route))?;
            sample.syscalls = receipt.syscalls;
            sample.route = receipt.route;
        }
        Program::Java { .. } => sample.thread_cpu_s = java_thread_cpu(&finished.stdout),
    }
    Ok(sample)
}

fn java_thread_cpu(stdout: &str) -> Option<f64> {
    let nanos = stdout
        .lines()
        .find_map(|line| line.strip_prefix("thread_cpu_ns "))?;
    nanos.trim().parse::<f64>().ok().map(|nanos| nanos / 1e9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_says_of_its_thread() {
        assert_eq!(java_thread_cpu("thread_cpu_ns 250000000\n"), Some(0.25));
        assert_eq!(java_thread_cpu("nothing\n"), None);
        assert_eq!(java_thread_cpu("thread_cpu_ns x\n"), None);
    }
}
