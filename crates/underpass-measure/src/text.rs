//! The report as tables for a terminal.

use std::fmt::{self, Display, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, Table};
use underpass::receipt::CryptoPlace;

use crate::Way;
use crate::crossing::{self, Crossing};
use crate::number;
use crate::page::{self, Language};
use crate::report::{Count, Evidence, Report, Row, Summary};

/// The report for people, in tables.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut out, report);
    out
}

fn write(out: &mut String, report: &Report) -> fmt::Result {
    head(out, report)?;
    for interface in report.used_interfaces() {
        copies(out, report, interface)?;
    }
    for interface in report.used_interfaces() {
        speed(out, report, interface)?;
    }
    streams(out, report)?;
    profile(out, report)?;
    tail(out, report)?;
    findings(out, report)
}

fn head(out: &mut String, report: &Report) -> fmt::Result {
    let machine = &report.machine;
    writeln!(
        out,
        "{}; {} x {}; file on {}; {}",
        machine.kernel, machine.processors, machine.processor, machine.file_system, report.began
    )?;
    for warning in &report.warnings {
        writeln!(out, "WARNING: {warning}")?;
    }
    Ok(())
}

/// The main table: how many copies, how many of them by the CPU, and how many mode switches.
fn copies(out: &mut String, report: &Report, interface: &str) -> fmt::Result {
    let mut rows = report
        .per_unit
        .iter()
        .filter(|row| row.interface == interface)
        .peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    let unit = number::size(report.method.unit_bytes);
    writeln!(
        out,
        "\n{}: {unit} from file to socket, counted over {}",
        described(report, interface),
        number::size(report.method.counted_bytes)
    )?;
    let mut table = table(&[
        "way",
        "system calls",
        "mode switches",
        "CPU copies",
        "DMA copies",
        "copies",
        "CPU copies are",
        "encryption",
    ]);
    for row in rows {
        table.add_row(vec![
            left(&row.way),
            right(marked(&row.syscalls)),
            right(marked(&row.mode_switches)),
            right(marked(&row.copies.by_cpu)),
            right(marked(&row.copies.by_dma)),
            right(row.copies.total().map_or("?".to_owned(), two)),
            left(row.copies.by_cpu.evidence),
            right(encryption(row)),
        ]);
    }
    writeln!(out, "{table}")
}

/// Passes of encryption over a byte, and where; nothing if the way has no TLS.
fn encryption(row: &Row) -> String {
    let Some(crypto) = &row.crypto else {
        return String::new();
    };
    let done = crypto.passes.iter();
    let done = done.filter(|pass| pass.count.value.is_some_and(|passes| passes > 0.0));
    let places: Vec<_> = done.map(|pass| place(pass.place)).collect();
    format!("{} {}", marked(&crypto.by_cpu), places.join(", "))
}

fn place(place: CryptoPlace) -> &'static str {
    match place {
        CryptoPlace::Kernel => "in the kernel",
        _ => "in user space",
    }
}

fn speed(out: &mut String, report: &Report, interface: &str) -> fmt::Result {
    let mut rows = report
        .by_size
        .iter()
        .filter(|row| row.interface == interface)
        .peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{}: by size, median of {} rounds (lowest to highest)",
        described(report, interface),
        report.method.rounds
    )?;
    let mut table = table(&[
        "size",
        "way",
        "GB/s",
        "CPU s/GB",
        "x throughput",
        "x CPU",
        "calls a file",
        "CPU copies",
    ]);
    for row in rows {
        let ratios = row.to_read_write;
        table.add_row(vec![
            right(number::size(row.bytes)),
            left(&row.way),
            right(spread(row.gb_per_s.as_ref())),
            right(spread(row.cpu_s_per_gb.as_ref())),
            right(ratios.map_or(String::new(), |ratios| two(ratios.throughput.median))),
            right(ratios.map_or(String::new(), |ratios| two(ratios.cpu.median))),
            right(marked(&row.syscalls)),
            right(marked(&row.copies.by_cpu)),
        ]);
    }
    writeln!(out, "{table}")
}

/// The table of streams.
fn streams(out: &mut String, report: &Report) -> fmt::Result {
    if report.streams.is_empty() {
        return Ok(());
    }
    let unit = number::size(report.method.unit_bytes);
    writeln!(
        out,
        "\none stream from a socket to others, over loopback (rates, times and calls for {unit}: of what all consumers got together)"
    )?;
    let mut table = table(&[
        "stream",
        "to",
        "way",
        "GB/s",
        "CPU s/GB",
        "x throughput",
        "x CPU",
        "calls",
        "CPU copies",
    ]);
    for row in &report.streams {
        let ratios = row.to_read_write;
        table.add_row(vec![
            left(&row.stream),
            right(row.consumers),
            left(&row.way),
            right(spread(row.gb_per_s.as_ref())),
            right(spread(row.cpu_s_per_gb.as_ref())),
            right(ratios.map_or(String::new(), |ratios| two(ratios.throughput.median))),
            right(ratios.map_or(String::new(), |ratios| two(ratios.cpu.median))),
            right(marked(&row.syscalls)),
            right(marked(&row.cpu_copies)),
        ]);
    }
    writeln!(out, "{table}")
}

fn profile(out: &mut String, report: &Report) -> fmt::Result {
    let mut rows = report
        .per_unit
        .iter()
        .filter(|row| row.sampled.is_some())
        .peekable();
    if rows.peek().is_none() {
        return Ok(());
    }
    writeln!(
        out,
        "\nthe sending thread's CPU time in functions that copy, sampled"
    )?;
    let mut table = table(&[
        "interface",
        "way",
        "share",
        "95 % interval",
        "samples",
        "functions",
    ]);
    for row in rows {
        table.add_row(profile_row(row));
    }
    writeln!(out, "{table}")
}

fn profile_row(row: &Row) -> Vec<Cell> {
    let Some(sampled) = &row.sampled else {
        return Vec::new();
    };
    let percent = |share: f64| format!("{:.1} %", share * 100.0);
    let named = sampled
        .functions
        .iter()
        .map(|f| format!("{} {}", f.name, f.samples));
    vec![
        left(&row.interface),
        left(&row.way),
        right(percent(sampled.share)),
        right(format!(
            "{} to {}",
            percent(sampled.low),
            percent(sampled.high)
        )),
        right(sampled.samples),
        left(named.take(3).collect::<Vec<_>>().join(", ")),
    ]
}

fn tail(out: &mut String, report: &Report) -> fmt::Result {
    writeln!(out, "\ncounted with")?;
    for probe in &report.probes {
        let verdict = if probe.used { "" } else { "not used: " };
        let note = probe.note.as_deref().unwrap_or_default();
        let mark = if probe.used { "+" } else { "-" };
        write!(out, "  {mark} {}: {}", probe.name, probe.counts)?;
        if !note.is_empty() {
            write!(out, "; {verdict}{note}")?;
        }
        writeln!(out)?;
    }
    for interface in &report.interfaces {
        if let Some(missing) = &interface.missing {
            writeln!(out, "  - {}: {missing}", interface.name)?;
        }
    }
    for absent in &report.absent_ways {
        writeln!(out, "  - {}: {}", absent.way, absent.missing)?;
    }
    out.write_str(LEGEND)
}

/// What the numbers show, in the same sentences as on the page.
fn findings(out: &mut String, report: &Report) -> fmt::Result {
    let language = Language::English;
    writeln!(out, "\n{}", page::myth(language))?;
    for finding in page::findings(report, language) {
        writeln!(out, "  {finding}")?;
    }
    for interface in report.used_interfaces() {
        match crossing::of(report, Way::Sendfile, interface) {
            Crossing::Untimed => {}
            Crossing::Never => writeln!(
                out,
                "  {interface}: sendfile never took less CPU than copying"
            )?,
            Crossing::Always => writeln!(
                out,
                "  {interface}: sendfile took less CPU than copying at every size"
            )?,
            Crossing::Between { from, .. } => {
                let from = number::size(from);
                writeln!(
                    out,
                    "  {interface}: sendfile took less CPU than copying from {from} on"
                )?;
            }
        }
    }
    Ok(())
}

const LEGEND: &str = "
*: expected, that is documented and not counted here; r: reported by the kernel; ?: not known
a switch is one into the kernel or back; encryption is in passes by the CPU over a byte, and no copy; DMA copies are always expected: no software sees them
";

fn described(report: &Report, interface: &str) -> String {
    let gathers = report
        .interfaces
        .iter()
        .find(|known| known.name == interface);
    let says = match gathers.and_then(|known| known.gathers) {
        Some(true) => "it gathers",
        Some(false) => "it does not gather",
        None => "it does not say whether it gathers",
    };
    format!("{interface} ({says})")
}

/// The number, with a mark if it was not counted.
fn marked(count: &Count) -> String {
    let mark = match count.evidence {
        Evidence::Measured => "",
        Evidence::Reported => "r",
        Evidence::Expected => "*",
        Evidence::Unknown => return "?".to_owned(),
    };
    count.value.map_or("?".to_owned(), two) + mark
}

fn two(value: f64) -> String {
    format!("{value:.2}")
}

fn spread(summary: Option<&Summary>) -> String {
    summary.map_or(String::new(), |summary| {
        let Summary { median, min, max } = summary;
        format!("{median:.3} ({min:.3} to {max:.3})")
    })
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    table
}

fn left(content: impl Display) -> Cell {
    Cell::new(content)
}

fn right(content: impl Display) -> Cell {
    Cell::new(content).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_counted_is_marked() {
        assert_eq!(marked(&Count::measured(2.0, "")), "2.00");
        assert_eq!(marked(&Count::expected(2.0, "")), "2.00*");
        assert_eq!(marked(&Count::unknown("")), "?");
    }
}
