//! The table of processes, made for a width.

use std::fmt::Write as _;

use underpass::{Printable, units};
use underpass_measure::report::{Count, Evidence};
use underpass_measure::top::{ProcessReport, TopReport};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::args::SortBy;

mod whole;

pub(super) use whole::whole;

/// A verdict needs this room beside the numbers; with less it is on a line of its own.
const VERDICT: usize = 60;
/// How wide names are.
const NAME: usize = 15;

/// A column: its head, its width, what it shows, and how soon it is left out.
struct Column {
    head: &'static str,
    width: usize,
    is_left: bool,
    of: fn(&ProcessReport, &TopReport) -> String,
}

/// In order of their place. Those at the end of `LEAST_NEEDED` stay longest.
const COLUMNS: [Column; 7] = [
    column("PID", 7, |process, _| process.activity.pid.to_string()),
    Column {
        head: "NAME",
        width: NAME,
        is_left: true,
        of: |process, _| name(process),
    },
    column("IN/s", 9, |process, report| rate(process.bytes_in, report)),
    column("OUT/s", 9, |process, report| {
        rate(process.bytes_out, report)
    }),
    column("COPIES", 7, |process, _| marked(&process.copies_per_byte)),
    column("SW/MiB", 7, |process, _| switches(process)),
    column("CPU", 5, cpu),
];

/// The places of columns in the order in which they are left out where there is no room.
const LEAST_NEEDED: [usize; 5] = [6, 5, 2, 0, 3];

const fn column(
    head: &'static str,
    width: usize,
    of: fn(&ProcessReport, &TopReport) -> String,
) -> Column {
    Column {
        head,
        width,
        is_left: false,
        of,
    }
}

/// The report in at most `rows` lines of at most `width` columns: a line about the whole, the head,
/// and the processes that moved something.
pub(super) fn lines(report: &TopReport, sort: SortBy, width: usize, rows: usize) -> Vec<String> {
    let mut lines = vec![fitted(&summary(report, sort), width)];
    let shown = shown(width);
    let numbers: usize = shown.iter().map(|column| column.width + 1).sum();
    let is_beside = width.saturating_sub(numbers) >= VERDICT;
    let mut head = cells(&shown, |column| column.head.to_owned());
    if is_beside {
        head.push_str("  VERDICT");
    }
    lines.push(fitted(&head, width));
    let moving = report.processes.iter().filter(|process| moves(process));
    for process in moving {
        let cells = cells(&shown, |column| (column.of)(process, report));
        let verdict = Printable(&process.verdict.line).to_string();
        if is_beside {
            lines.push(fitted(&format!("{cells}  {verdict}"), width));
        } else {
            lines.push(fitted(&cells, width));
            lines.extend(wrapped(&verdict, width, 4));
        }
        if lines.len() >= rows {
            break;
        }
    }
    if lines.len() == 2 {
        lines.push(fitted("no process moved bytes", width));
    }
    lines.truncate(rows);
    lines
}

/// Whether it is worth a line. Threads of the kernel copy without any call.
fn moves(process: &ProcessReport) -> bool {
    let copied = process.activity.copied_bytes();
    process.bytes_in > 0 || process.bytes_out > 0 || copied.is_some_and(|bytes| bytes > 0)
}

/// What the kernel copied while it handled interrupts, if it is at least a hundredth of what was
/// moved.
fn copied_for_nobody(report: &TopReport) -> u64 {
    let hops = report.unattributed.iter().filter_map(|hop| hop.bytes);
    let copied = hops.fold(0, u64::saturating_add);
    let moved = report.processes.iter().map(|it| it.activity.bytes_moved());
    let moved = moved.fold(0, u64::saturating_add);
    if copied > moved / 100 { copied } else { 0 }
}

fn summary(report: &TopReport, sort: SortBy) -> String {
    let moving = report.processes.iter().filter(|process| moves(process));
    let by = match sort {
        SortBy::Copies => "bytes copied",
        SortBy::Bytes => "bytes moved",
        SortBy::Cpu => "CPU time",
    };
    let count = units::count(moving.count() as u64, "process");
    let seconds = report.seconds;
    let mut text = format!("{count} moved bytes in {seconds:.1} s, by {by}");
    let overhead = &report.overhead;
    let cpu = overhead.watcher_cpu_seconds + overhead.probes_cpu_seconds.unwrap_or(0.0);
    let _ = write!(text, "; watching took {cpu:.2} s of CPU");
    let nobody = copied_for_nobody(report);
    if nobody > 0 {
        let bytes = units::size(nobody);
        let _ = write!(
            text,
            "; {bytes} more copied in interrupts, for whom is not known"
        );
    }
    if overhead.lost > 0 {
        let lost = units::count(overhead.lost, "event");
        let _ = write!(text, "; {lost} LOST: the numbers are too low");
    }
    text
}

/// The columns that fit.
fn shown(width: usize) -> Vec<&'static Column> {
    let mut places: Vec<usize> = (0..COLUMNS.len()).collect();
    let needed = |places: &[usize]| -> usize {
        let widths = places.iter().map(|place| COLUMNS[*place].width + 1);
        widths.sum()
    };
    for least in LEAST_NEEDED {
        if needed(&places) <= width.saturating_add(1) {
            break;
        }
        places.retain(|place| *place != least);
    }
    places.into_iter().map(|place| &COLUMNS[place]).collect()
}

fn cells(columns: &[&Column], text: impl Fn(&Column) -> String) -> String {
    let cells = columns.iter().map(|column| {
        let text = fitted(&text(column), column.width);
        let space = " ".repeat(column.width - text.width());
        if column.is_left {
            text + &space
        } else {
            space + &text
        }
    });
    cells.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

fn name(process: &ProcessReport) -> String {
    let name = Printable(&process.activity.name).to_string();
    if process.activity.has_ended {
        format!("{name}†")
    } else {
        name
    }
}

fn rate(bytes: u64, report: &TopReport) -> String {
    if report.seconds > 0.0 {
        units::size((bytes as f64 / report.seconds).round() as u64)
    } else {
        String::new()
    }
}

/// The number, with a mark if it was not counted: as `measure` marks it.
fn marked(count: &Count) -> String {
    let Some(value) = count.value else {
        return "?".to_owned();
    };
    let mark = match count.evidence {
        Evidence::Measured => "",
        Evidence::Reported => "r",
        _ => "*",
    };
    format!("{value:.2}{mark}")
}

fn switches(process: &ProcessReport) -> String {
    match process.mode_switches_per_mib {
        Some(switches @ ..10.0) => format!("{switches:.1}"),
        Some(switches @ ..1_000_000.0) => format!("{switches:.0}"),
        Some(_) => ">999999".to_owned(),
        None => "?".to_owned(),
    }
}

fn cpu(process: &ProcessReport, report: &TopReport) -> String {
    match process.activity.cpu_seconds {
        Some(cpu) if report.seconds > 0.0 => format!("{:.0}%", cpu / report.seconds * 100.0),
        _ => "?".to_owned(),
    }
}

/// Words in lines of at most `width` columns, `indent` columns from the left.
pub(super) fn wrapped(text: &str, width: usize, indent: usize) -> Vec<String> {
    let margin = " ".repeat(indent);
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.width() + 1 + word.width() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(format!("{margin}{word}")),
        }
    }
    lines.iter().map(|line| fitted(line, width)).collect()
}

/// The beginning of a text that fits into `width` columns, with `…` where it was cut.
pub(super) fn fitted(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let (mut kept, mut columns) = (String::new(), 0);
    for character in text.chars() {
        columns += character.width().unwrap_or(0);
        if columns >= width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests;
