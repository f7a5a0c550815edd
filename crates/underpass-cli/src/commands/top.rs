//! `underpass top`

use std::io::{ErrorKind, Write};
use std::time::{Duration, Instant};

use underpass_measure::page;
use underpass_measure::top::{Activity, ProcessReport, TopReport, Watcher};

use super::command_line;
use crate::args::{SortBy, TopArgs};
use crate::exit::Failure;
use crate::interrupt::Interrupt;
use crate::io::StandardStream;
use crate::io::files;
use crate::report;

mod child;
mod live;
mod screen;
mod table;
mod wanted;

use screen::Screen;
use wanted::Wanted;

/// The width of a table that is not drawn on a terminal: lines are as long as they are.
const ANY_WIDTH: usize = usize::MAX;

/// More often than this, counting would be most of what is seen.
const SHORTEST: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &TopArgs) -> Result<(), Failure> {
    if args.interval < SHORTEST {
        return Err(Failure::usage(
            "--interval: the shortest is 100ms; with less, counting would be most of what is seen",
        ));
    }
    if args.command.is_empty() && command_line::has_nothing_to_run() {
        return Err(Failure::usage(
            "--: which command? Write it behind: underpass top -- cp in.bin out.bin",
        ));
    }
    // This is checked before a watch that takes long.
    args.html
        .as_deref()
        .map_or(Ok(()), files::refuse_unwritable)?;
    if !args.command.is_empty() {
        return child::run(args);
    }
    StandardStream::Output.needed()?;
    let wanted = Wanted::of(&args.processes)?;
    let interrupt = Interrupt::listen_to_all()?;
    let mut watcher = Watcher::start(&wanted.settings()).map_err(Failure::failed)?;
    let screen = if args.json {
        None
    } else {
        Screen::open().map_err(Failure::failed)?
    };
    let last = match screen {
        Some(screen) => live::run(args, &wanted, watcher, &interrupt, &screen)?,
        None => lines(args, &wanted, &mut watcher, &interrupt)?,
    };
    match (last, interrupt.cancel.is_cancelled(), args.count) {
        (last, true, Some(_)) => {
            write_page(args, last.as_ref())?;
            Err(interrupt.failure("ended before the last report"))
        }
        (last, ..) => write_page(args, last.as_ref()),
    }
}

/// Prints one report after the other. Returns the last one.
fn lines(
    args: &TopArgs,
    wanted: &Wanted,
    watcher: &mut Watcher,
    interrupt: &Interrupt,
) -> Result<Option<TopReport>, Failure> {
    let mut last: Option<TopReport> = None;
    let mut due = Instant::now();
    for number in 1.. {
        due = next_due(due, args.interval);
        let activity = watcher.next(due, Some(&interrupt.cancel));
        let activity = activity.map_err(Failure::failed)?;
        // What was cut short is no report of an interval.
        if interrupt.cancel.is_cancelled() {
            break;
        }
        let report = finished(wanted.select(activity), args.sort);
        if number == 1 && !args.json {
            report.notes.iter().for_each(report::notice);
        }
        let is_taken = print(&rendered(&report, args, number > 1)?)?;
        last = Some(report);
        if !is_taken || args.count.is_some_and(|count| number >= count) {
            break;
        }
    }
    Ok(last)
}

/// When the next interval ends. What was missed, because the process was stopped or the machine
/// busy, is not made up for: intervals of nothing would follow.
fn next_due(due: Instant, interval: Duration) -> Instant {
    let next = due + interval;
    let now = Instant::now();
    if next > now { next } else { now + interval }
}

/// A report in order, with the command that made it.
fn finished(activity: Activity, sort: SortBy) -> TopReport {
    let mut report = TopReport::of(activity);
    report.command = Some(command_line::own());
    order(&mut report.processes, sort);
    report
}

/// The largest first; of equal ones, the one with the lower number.
fn order(processes: &mut [ProcessReport], sort: SortBy) {
    // Where that is not known, each byte may have been copied.
    let copied = |process: &ProcessReport| {
        let copied = process.activity.copied_bytes();
        copied.unwrap_or_else(|| process.activity.bytes_moved()) as f64
    };
    let moved = |process: &ProcessReport| process.bytes_in.max(process.bytes_out) as f64;
    let cpu = |process: &ProcessReport| process.activity.cpu_seconds.unwrap_or(0.0);
    processes.sort_by(|one, other| {
        let by = |amount: &dyn Fn(&ProcessReport) -> f64| amount(other).total_cmp(&amount(one));
        let first = match sort {
            SortBy::Copies => by(&copied),
            SortBy::Bytes => by(&moved),
            SortBy::Cpu => by(&cpu),
        };
        first
            .then_with(|| by(&moved))
            .then(one.activity.pid.cmp(&other.activity.pid))
    });
}

fn rendered(report: &TopReport, args: &TopArgs, follows: bool) -> Result<String, Failure> {
    if args.json {
        return json(report);
    }
    let lines = table::lines(report, args.sort, ANY_WIDTH, usize::MAX);
    let before = if follows { "\n" } else { "" };
    Ok(format!("{before}{}\n", lines.join("\n")))
}

fn json(report: &TopReport) -> Result<String, Failure> {
    let json = serde_json::to_string(report);
    let json = json.map_err(|error| Failure::failed(format_args!("no JSON: {error}")))?;
    Ok(json + "\n")
}

/// Prints it. Returns whether somebody still reads.
fn print(text: &str) -> Result<bool, Failure> {
    let mut output = StandardStream::Output;
    match output.write_all(text.as_bytes()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::failed(format_args!("{}: {error}", output.name()))),
    }
}

fn write_page(args: &TopArgs, report: Option<&TopReport>) -> Result<(), Failure> {
    match (&args.html, report) {
        (Some(file), Some(report)) => files::write(file, page::render_top(report).as_bytes()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_have_been_copied_is_not_listed_last() {
        let text = include_str!("../../../underpass-measure/tests/top_report/report.json");
        let mut report: TopReport = serde_json::from_str(text).unwrap();
        report.processes.reverse();
        order(&mut report.processes, SortBy::Copies);
        let names = report.processes.iter();
        let names: Vec<_> = names.map(|it| it.activity.name.as_str()).collect();
        assert_eq!(names, ["server", "relay", "cp", "nginx", "kworker/0:1"]);
    }

    #[test]
    fn intervals_that_were_missed_are_not_made_up_for() {
        let second = Duration::from_secs(1);
        let now = Instant::now();
        assert_eq!(next_due(now + second, second), now + 2 * second);
        let late = now.checked_sub(Duration::from_secs(10)).unwrap();
        assert!(next_due(late, second) >= now + second);
    }
}
