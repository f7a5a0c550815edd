//! The page of `underpass top`: programs, with a picture and the verdict for each. In English.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Language, Page, STYLE, cards, counted, headline, notes, picture};
use crate::number;
use crate::report::{Machine, Method, Report};
use crate::top::{ProcessReport, TopReport};

/// As many pictures as a page is read for. The table has all processes.
const PICTURES: usize = 24;

/// Nothing is loaded, and no script runs.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The report as one HTML document.
pub(super) fn render(report: &TopReport) -> String {
    let frame = frame(report);
    let page = Page {
        report: &frame,
        language: Language::English,
        headline: headline::Headline::of(&frame, Language::English),
        notes: notes::Notes::of(&frame),
    };
    document(&page, report).into_string()
}

/// What the parts that the page shares with that of `measure` are made from.
fn frame(report: &TopReport) -> Report {
    Report {
        form: report.form.clone(),
        version: report.version.clone(),
        began: report.ended.clone(),
        command: report.command.clone(),
        machine: Machine::here(0, ""),
        method: Method {
            rounds: 0,
            unit_bytes: 0,
            counted_bytes: 0,
            sample_bytes: 0,
            tls: None,
        },
        probes: Vec::new(),
        interfaces: Vec::new(),
        absent_ways: Vec::new(),
        per_unit: Vec::new(),
        by_size: Vec::new(),
        streams: Vec::new(),
        warnings: Vec::new(),
    }
}

fn document(page: &Page, report: &TopReport) -> Markup {
    let moving: Vec<_> = report.processes.iter().filter(|it| moves(it)).collect();
    let title = title(&moving);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "underpass " (report.version) };
                link rel="icon" href="data:,";
                title { (title) " – underpass top" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (picture::definitions())
                header {
                    h1 { (title) }
                    p { (report.kernel) " · " "underpass " (report.version) " · " time datetime=(report.ended) { (report.ended) } " · counted for " (number::three_digits(report.seconds)) " s" }
                }
                main {
                    (notes_section(report))
                    section {
                        div.cards { @for process in moving.iter().take(PICTURES) { (card(page, process)) } }
                        @if moving.is_empty() { p.absent { "No process moved bytes." } }
                    }
                    section { (cards::legend(page)) }
                    (table(page, &moving))
                }
                (repeat(report))
            }
        }
    }
}

fn moves(process: &ProcessReport) -> bool {
    process.bytes_in > 0 || process.bytes_out > 0
}

fn title(moving: &[&ProcessReport]) -> String {
    match moving {
        [process] => format!("{}: {}", process.activity.name, process.verdict),
        _ => "Which programs copy".to_owned(),
    }
}

fn notes_section(report: &TopReport) -> Markup {
    html! {
        @if !report.notes.is_empty() || report.overhead.lost > 0 {
            section.warnings {
                h2 { "Before you believe these numbers" }
                ul {
                    @for note in &report.notes { li { (note) } }
                    @if report.overhead.lost > 0 { li { (report.overhead.lost) " events were lost: the numbers are too low" } }
                }
            }
        }
    }
}

fn card(page: &Page, process: &ProcessReport) -> Markup {
    let activity = &process.activity;
    html! {
        article.card {
            h3 { (activity.name) " (" (activity.pid) ")" }
            @if let Some(command) = &activity.command { p.unit.meaning { (command) } }
            p { strong { (process.verdict) } }
            (picture::program(page, process))
            div.numbers {
                dl.costs {
                    dt { "bytes in" } dd { (underpass::units::size(process.bytes_in)) }
                    dt { "bytes out" } dd { (underpass::units::size(process.bytes_out)) }
                    dt { "CPU copies of a byte" } dd { (counted::counted(page, &process.copies_per_byte)) }
                    dt { "mode switches for each MiB" } dd { (known(process.mode_switches_per_mib.map(number::three_digits))) }
                    dt { "CPU time" } dd { (known(activity.cpu_seconds.map(|seconds| format!("{} s", number::three_digits(seconds))))) }
                    @if let Some(copying) = &activity.copying {
                        dt { "of it in functions that copy" }
                        dd { (number::share(copying.share, copying.low, copying.high)) }
                    }
                }
                p.unit { "by these calls" }
                dl.costs {
                    @for call in &activity.calls {
                        dt { (call.family) ", " (call.from) " to " (call.to) }
                        dd { (underpass::units::size(call.bytes)) " in " (underpass::units::grouped(call.calls)) }
                    }
                }
            }
        }
    }
}

fn known(number: Option<String>) -> String {
    number.unwrap_or_else(|| "?".to_owned())
}

fn table(page: &Page, moving: &[&ProcessReport]) -> Markup {
    html! {
        @if moving.len() > 1 {
            section {
                h2 { "All processes" }
                div.scroll tabindex="0" role="region" aria-label="All processes" {
                    table {
                        thead { tr {
                            @for head in ["process", "in", "out", "CPU copies of a byte", "mode switches/MiB", "verdict"] { th scope="col" { (head) } }
                        } }
                        tbody {
                            @for process in moving {
                                tr {
                                    th scope="row" { (process.activity.pid) " " (process.activity.name) }
                                    td { (underpass::units::size(process.bytes_in)) }
                                    td { (underpass::units::size(process.bytes_out)) }
                                    td { (counted::counted(page, &process.copies_per_byte)) }
                                    td { (known(process.mode_switches_per_mib.map(number::three_digits))) }
                                    td.wraps { (process.verdict) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn repeat(report: &TopReport) -> Markup {
    html! {
        footer {
            @if let Some(command) = &report.command {
                h2 { "To repeat it" }
                p { "This report was made by:" }
                pre { code { (command) } }
            }
            p { "underpass " (report.version) " · " (report.form) " · " (report.ended) }
        }
    }
}
