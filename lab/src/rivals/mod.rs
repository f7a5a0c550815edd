//! `lab rivals`: underpass and its rivals at their best settings, side by side, with the results
//! kept in a folder.

mod bars;
mod folder;
mod html;
mod machine;
mod markdown;
mod summary;
mod versions;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Args;

use self::folder::Folder;
use crate::bench::Bench;
use crate::commands::Commands;
use crate::contender;
use crate::error::{Context, Result};
use crate::header::Header;
use crate::pin::Pinning;
use crate::record::{Case, Record};
use crate::scenario::{self, Kind, Scenario};
use crate::{copy, fan_out, http, output, program, relay, send, testfile, tree};

/// The exit code for wrong use, the same as clap's.
const USAGE: u8 = 2;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Scenarios to run; without a name, all of them
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// List what there is to run, and which contenders are absent
    #[arg(long)]
    list: bool,
    /// Run only contenders whose names contain this; may be given more than once. The summary says
    /// so
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The folder of the run; results of other scenarios in it are kept [default:
    /// lab/runs/DATE-rivals, or a new name like it]
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
    /// Run one short round of each: shows whether everything works; the results are marked as not
    /// to be quoted
    #[arg(long)]
    quick: bool,
    /// Number of rounds [default: the scenario's number, and up to three times that until the
    /// comparisons are settled]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// The underpass binary [default: the one built beside the lab, else the one on PATH]
    #[arg(long, value_name = "PATH")]
    underpass: Option<PathBuf>,
    /// An earlier underpass binary, which is measured beside this one as `underpass, before`
    #[arg(long, value_name = "PATH")]
    before: Option<PathBuf>,
    /// Where to make files, which are removed afterwards [default: the system's temporary
    /// directory]
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Let the scheduler place both sides (otherwise: the contender on cpu 0, its load or receiver
    /// on cpu 1)
    #[arg(long)]
    no_pin: bool,
}

/// Runs the scenarios. The result of each is saved as soon as it is done.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    let scenarios = match scenario::named(&options.names) {
        Ok(scenarios) => scenarios,
        Err(unknown) => {
            eprintln!("lab: {unknown}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    let underpass = program::underpass(options.underpass.as_deref())?;
    if let Some(before) = &options.before {
        program::is_there(before)?;
    }
    if options.list {
        output::print(&list(&scenarios, underpass.as_deref())?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let pinning = Pinning::new(!options.no_pin)?;
    let run = Run {
        header: header(options, pinning, underpass.as_deref()),
        options,
        underpass,
        pinning,
    };
    let names: Vec<_> = scenarios.iter().map(|one| one.name.as_str()).collect();
    let folder = Folder::open(options.into.as_deref(), options.quick, &names)?;
    output::print(&format!("{}into       {folder}\n\n", run.header))?;
    machine::write(folder.path())?;
    versions::write(folder.path(), run.underpass.as_deref())?;
    pinning.pin_sender()?;
    let mut void = Vec::new();
    for scenario in scenarios {
        let record = run.one(&folder, scenario)?;
        output::print(&format!("{}\n", summary::text(&record)))?;
        void.extend(record.void());
    }
    folder.close()?;
    for row in &void {
        eprintln!("lab: void: {row}");
    }
    let whole = void.is_empty();
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn header(options: &Options, pinning: Pinning, underpass: Option<&Path>) -> Header {
    let header = Header::here()
        .with(
            "placing",
            pinning.describe("what is measured", "its load or sink"),
        )
        .with("underpass", program::describe(underpass));
    let header = match &options.before {
        Some(before) => header.with("before", program::describe(Some(before))),
        None => header,
    };
    if options.quick {
        return header.with(
            "quick",
            "one short round of small sizes: nothing to be quoted",
        );
    }
    header
}

struct Run<'a> {
    options: &'a Options,
    header: Header,
    underpass: Option<PathBuf>,
    pinning: Pinning,
}

impl Run<'_> {
    fn one(&self, folder: &Folder, scenario: Scenario) -> Result<Record> {
        let quick = self.options.quick;
        let scenario = if quick { scenario.quick() } else { scenario };
        let mut scenario = scenario.only(&self.options.only)?;
        if let Some(rounds) = self.options.rounds {
            scenario.rounds = rounds;
            scenario.most_rounds = Some(rounds);
        }
        let place = self.options.dir.clone().unwrap_or_else(std::env::temp_dir);
        let dir = testfile::work_dir(&place)?;
        testfile::open_to_all(dir.path())?;
        let commands = Commands::default();
        let started = Instant::now();
        let cases = measure(&Bench {
            scenario: &scenario,
            root: dir.path(),
            pinning: self.pinning,
            underpass: self.underpass.as_deref(),
            before: self.options.before.as_deref(),
            commands: &commands,
        })?;
        dir.close()
            .context(|| "cannot remove what was made to be measured".into())?;
        let record = Record {
            scenario,
            quick,
            header: self.header.clone(),
            took_s: started.elapsed().as_secs_f64(),
            cases,
        };
        folder.keep(&record, &commands)?;
        Ok(record)
    }
}

/// Lists the scenarios, and the absent contenders of each.
fn list(scenarios: &[Scenario], underpass: Option<&Path>) -> Result<String> {
    let widths = scenarios.iter().map(|known| known.name.len());
    let width = widths.max().unwrap_or_default();
    let mut text = String::new();
    for scenario in scenarios {
        let _ = writeln!(text, "{:<width$}  {}", scenario.name, scenario.what);
        for who in contender::all(scenario.kind.race(), underpass)? {
            let takes_part = scenario.contenders.iter().any(|name| name == who.name());
            if let (true, Err(why)) = (takes_part, &who.program) {
                let _ = writeln!(text, "{:<width$}  absent: {}: {why}", "", who.name());
            }
        }
    }
    Ok(text)
}

fn measure(bench: &Bench) -> Result<Vec<Case>> {
    match bench.scenario.kind {
        Kind::HttpRequests | Kind::HttpBulk => http::rate::run(bench),
        Kind::HttpsRequests | Kind::HttpsBulk => http::rate::run_over_tls(bench),
        Kind::HttpsHandshakes => http::handshakes::run(bench),
        Kind::H2Requests | Kind::H2Bulk => http::http2::run_over_tls(bench),
        Kind::H2cRequests => http::http2::run(bench),
        Kind::HttpIdle => http::idle::run(bench),
        Kind::HttpsIdle => http::idle::run_over_tls(bench),
        Kind::HttpCold => http::beside::cold(bench),
        Kind::HttpFair => http::beside::fair(bench),
        Kind::RelayBulk => relay::bulk::run(bench),
        Kind::RelayMessages => relay::messages::run(bench),
        Kind::RelayIdle => relay::idle::run(bench),
        Kind::FanOut => fan_out::stream::run(bench),
        Kind::FanOutFile => fan_out::file::run(bench),
        Kind::Send => send::run_all(bench),
        Kind::Copy => copy::run_all(bench),
        Kind::Tree => tree::run_all(bench),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_contender_of_every_scenario_is_known() {
        for scenario in scenario::all().unwrap() {
            let known = contender::all(scenario.kind.race(), None).unwrap();
            for name in &scenario.contenders {
                let known = known.iter().any(|who| who.name() == name);
                assert!(known, "{}: {name}", scenario.name);
            }
            let named = scenario
                .published
                .iter()
                .flat_map(|published| &published.pairs);
            for name in named.flat_map(|pair| [&pair.read_write, &pair.zero_copy]) {
                assert!(
                    scenario.contenders.contains(name),
                    "{}: {name}",
                    scenario.name
                );
            }
        }
    }
}
