//! The report as tables for a terminal.

use std::fmt::{self, Display, Write};

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};
use underpass::receipt::CryptoPlace;

use crate::Way;
use crate::crossing::{self, Crossing};
use crate::number;
use crate::page::{self, Language};
use crate::report::{Count, Evidence, Report, Row, Summary};

/// The width of a terminal that nobody has made wider.
const WIDTH: usize = 80;

/// The report for people: its result in one sentence, and tables. It is 80 columns wide.
pub fn text(report: &Report) -> String {
    let mut out = String::new();
    // Writing to a String does not fail.
    let _ = write(&mut out, report);
    fitted(&out)
}

/// Breaks lines that are too long, and indents what follows more than their beginning.
fn fitted(text: &str) -> String {
    let mut fitted = String::new();
    for line in text.lines().map(str::trim_end) {
        let indent = line.len() - line.trim_start().len();
        let mut column = 0;
        for (at, word) in line.split(' ').enumerate() {
            let length = word.chars().count();
            if column > indent && column + 1 + length > WIDTH {
                column = indent + 2;
                fitted.truncate(fitted.trim_end_matches(' ').len());
                let _ = write!(fitted, "\n{:column$}", "");
            } else if at > 0 {
                fitted.push(' ');
                column += 1;
            }
            fitted.push_str(word);
            column += length;
        }
        fitted.push('\n');
    }
    fitted
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
    writeln!(out, "{}", page::sentence(report, Language::English))?;
    writeln!(
        out,
        "\n{}; {} x {}; file on {}; {}",
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
    let mut header = vec!["way", "calls", "switches", "by CPU", "by DMA", "copies"];
    let is_encrypted = rows.clone().any(|row| row.crypto.is_some());
    header.extend(is_encrypted.then_some("encryption"));
    let mut table = table(&header);
    for row in rows {
        let mut cells = vec![
            left(&row.way),
            right(marked(&row.syscalls)),
            right(marked(&row.mode_switches)),
            right(marked(&row.copies.by_cpu)),
            right(marked(&row.copies.by_dma)),
            right(row.copies.total().map_or("?".to_owned(), two)),
        ];
        cells.extend(is_encrypted.then(|| right(encryption(row))));
        table.add_row(cells);
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
        "size and way",
        "GB/s",
        "CPU s/GB",
        "x GB/s",
        "x CPU",
        "calls",
    ]);
    let mut size = 0;
    for row in rows {
        if row.bytes != size {
            size = row.bytes;
            table.add_row(vec![left(number::size(size))]);
        }
        let ratios = row.to_read_write;
        table.add_row(vec![
            left(format!("  {}", row.way)),
            right(spread(row.gb_per_s.as_ref())),
            right(spread(row.cpu_s_per_gb.as_ref())),
            right(ratios.map_or(String::new(), |ratios| two(ratios.throughput.median))),
            right(ratios.map_or(String::new(), |ratios| two(ratios.cpu.median))),
            right(marked(&row.syscalls)),
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
        "\none stream from a socket to others, over loopback; rates, times and calls for {unit} are of what all got together"
    )?;
    let mut table = table(&[
        "to, and way",
        "GB/s",
        "CPU s/GB",
        "x GB/s",
        "x CPU",
        "calls",
        "by CPU",
    ]);
    let mut shown = None;
    for row in &report.streams {
        let stream = (&row.stream, row.consumers);
        if shown != Some(stream) {
            shown = Some(stream);
            table.add_row(vec![left(format!("{} to {}", row.stream, row.consumers))]);
        }
        let ratios = row.to_read_write;
        table.add_row(vec![
            left(format!("  {}", row.way)),
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
        "\nshare of the sending thread's CPU time in functions that copy, sampled"
    )?;
    let mut table = table(&["link and way", "share", "95 %", "of", "functions"]);
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH as u16);
    let mut interface = "";
    for row in rows {
        if row.interface != interface {
            interface = &row.interface;
            table.add_row(vec![left(interface)]);
        }
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
        left(format!("  {}", row.way)),
        right(percent(sampled.share)),
        right(format!(
            "{:.1}-{}",
            sampled.low * 100.0,
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
                "  {interface}: no size from which sendfile clearly took less CPU than copying"
            )?,
            Crossing::Always => writeln!(
                out,
                "  {interface}: sendfile took less CPU than copying at every size"
            )?,
            Crossing::Between { from, .. } => {
                let from = number::size(from);
                writeln!(
                    out,
                    "  {interface}: sendfile took less CPU than copying from {from} up"
                )?;
            }
        }
    }
    Ok(())
}

const LEGEND: &str = "
*: expected, that is documented and not counted here; r: reported by the kernel; ?: not known
calls are system calls; a switch is one into the kernel or back; by CPU and by DMA are copies of each byte; encryption is in passes by the CPU over a byte, and no copy; DMA copies are always expected: no software sees them
x: as many times as with read-write, compared round by round
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
        let [median, min, max] = [median, min, max].map(|it| number::three_digits(*it));
        format!("{median} ({min}-{max})")
    })
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).set_header(header);
    // Tables with spreads are as wide as the terminal.
    let gap = if header.contains(&"CPU s/GB") { 1 } else { 2 };
    for column in table.column_iter_mut() {
        column.set_padding((0, gap));
    }
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

    #[test]
    fn it_fits_a_terminal_of_80_columns() {
        let text = text(&page::fixture());
        let sentence = page::sentence(&page::fixture(), Language::English);
        let one_line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(one_line.starts_with(&sentence), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
            assert_eq!(line, line.trim_end());
            let last = line.trim().trim_end_matches('*');
            let is_figure = last.contains('.') && last.parse::<f64>().is_ok();
            assert!(!is_figure, "a row is broken: {line:?}");
        }
    }

    #[test]
    fn long_lines_are_broken_below_their_beginning() {
        let long = format!("  - {}end", "word ".repeat(20));
        let want = format!(
            "  - {}word\n    {}end\n",
            "word ".repeat(14),
            "word ".repeat(5)
        );
        assert_eq!(fitted(&long), want);
    }
}
