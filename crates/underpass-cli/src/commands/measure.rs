//! `underpass measure`

use std::fmt::Display;
use std::path::Path;

use underpass::Cancel;
use underpass_measure::report::FORM;
use underpass_measure::{
    Error, MeasureSettings, Report, Stream, Verdict, Watch, Way, claims, measure, page, text,
};

use super::command_line;
use super::progress::Steps;
use crate::args::{MeasureArgs, Measured};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::StandardStream;
use crate::io::files;
use crate::report;

pub(crate) fn run(args: &MeasureArgs) -> Result<(), Failure> {
    // This is checked before a run that takes minutes.
    StandardStream::Output.needed()?;
    args.html
        .as_deref()
        .map_or(Ok(()), files::refuse_unwritable)?;
    let report = match &args.from {
        Some(file) => read(file)?,
        None => take(args)?,
    };
    if let Some(file) = &args.html {
        files::write(file, page::render(&report, args.lang).as_bytes())?;
    }
    StandardStream::Output.offer(rendered(&report, args)?.as_bytes())?;
    if args.verify { verify(&report) } else { Ok(()) }
}

fn take(args: &MeasureArgs) -> Result<Report, Failure> {
    let settings = settings(args)?;
    let interrupt = Interrupt::listen()?;
    let mut watch = Shown {
        steps: Steps::new(args.quiet),
        cancel: &interrupt.cancel,
    };
    let measured = measure(&settings, &mut watch);
    watch.steps.clear();
    let mut report = measured.map_err(|error| failure(&error, &interrupt))?;
    report.command = Some(command_line::own());
    Ok(report)
}

/// Reads the report of an earlier run.
fn read(file: &Path) -> Result<Report, Failure> {
    let wrong = |error: &dyn Display| Failure::failed(format_args!("{}: {error}", file.display()));
    let json = std::fs::read(file).map_err(|error| wrong(&error))?;
    let report: Report = serde_json::from_slice(&json)
        .map_err(|error| wrong(&format_args!("not a report of `measure --json`: {error}")))?;
    if report.form != FORM {
        let form = &report.form;
        return Err(wrong(&format_args!(
            "a report of the form {form:?}; only {FORM:?} can be read"
        )));
    }
    Ok(report)
}

fn settings(args: &MeasureArgs) -> Result<MeasureSettings, Failure> {
    let mut settings = match (args.quick, args.counts_only) {
        (true, _) => MeasureSettings::quick(),
        (_, true) => MeasureSettings::counts_only(),
        _ => MeasureSettings::thorough(),
    };
    if args.sizes.contains(&0) {
        return Err(Failure::usage("--sizes: a file of 0 bytes moves nothing"));
    }
    replace(&mut settings.sizes, &args.sizes);
    if !args.ways.is_empty() {
        (settings.ways, settings.streams) = chosen(&args.ways);
    }
    replace(&mut settings.links, &args.links);
    settings.swap_gather = args.swap_gather;
    settings.rounds = args.rounds.unwrap_or(settings.rounds);
    if let Some(directory) = &args.dir {
        settings.directory.clone_from(directory);
    }
    Ok(settings)
}

/// Splits the given names into ways and streams, without repetitions.
fn chosen(asked: &[Measured]) -> (Vec<Way>, Vec<Stream>) {
    let (mut ways, mut streams) = (Vec::new(), Vec::new());
    for measured in asked {
        match measured {
            Measured::File(way) if !ways.contains(way) => ways.push(*way),
            Measured::Stream(stream) if !streams.contains(stream) => streams.push(*stream),
            _ => {}
        }
    }
    (ways, streams)
}

/// Prints to standard error whether each claim holds, one line each, and how many do.
fn verify(report: &Report) -> Result<(), Failure> {
    let claims = claims(report);
    claims.iter().for_each(report::notice);
    let count = |wanted: fn(&Verdict) -> bool| {
        let found = claims.iter().filter(|claim| wanted(&claim.verdict));
        found.count()
    };
    let held = count(|verdict| matches!(verdict, Verdict::Holds(_)));
    let failed = count(|verdict| matches!(verdict, Verdict::Fails(_)));
    let uncounted = claims.len() - held - failed;
    let all = claims.len();
    let told = format!("{all} claims: {held} held, {failed} failed, {uncounted} not counted here");
    match (failed, uncounted) {
        (0, 0) => {
            report::notice(&told);
            Ok(())
        }
        (0, _) => Err(Failure::undecided(told)),
        _ => Err(Failure::failed(told)),
    }
}

/// Replaces the default by the given values, without repetitions. Keeps the default if none was
/// given.
fn replace<T: Clone + PartialEq>(default: &mut Vec<T>, asked: &[T]) {
    if asked.is_empty() {
        return;
    }
    default.clear();
    for item in asked {
        if !default.contains(item) {
            default.push(item.clone());
        }
    }
}

/// Shows progress on the terminal, and ends the run at a signal.
struct Shown<'a> {
    steps: Steps,
    cancel: &'a Cancel,
}

impl Watch for Shown<'_> {
    fn progress(&mut self, done: u64, total: u64, next: &str) {
        self.steps.show(done, total, next);
    }

    fn cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    fn cancel(&self) -> Option<&Cancel> {
        Some(self.cancel)
    }
}

fn failure(error: &Error, interrupt: &Interrupt) -> Failure {
    if error.is_cancelled() {
        return interrupt.failure(error);
    }
    Failure::failed(error)
}

fn rendered(report: &Report, args: &MeasureArgs) -> Result<String, Failure> {
    if !args.json {
        return Ok(text(report));
    }
    let json = serde_json::to_string(report);
    let json = json.map_err(|error| Failure::failed(format_args!("no JSON: {error}")))?;
    Ok(json + "\n")
}
