//! Tables: all counts, where the CPU time went, and the crossing points.

use maud::{Markup, html};

use super::words::Text;
use super::{Page, chart, counted, words};
use crate::Way;
use crate::crossing::{self, Crossing};
use crate::number;
use crate::report::{Row, Sampled, StreamRow, Summary};

/// Everything that was counted for one unit.
pub(super) fn counts(page: &Page) -> Markup {
    let head = [
        words::WAY,
        words::INTERFACE,
        words::CALLS,
        words::MODE_SWITCHES,
        words::CPU_COPIES,
        words::DMA_COPIES,
        words::ALL_COPIES,
        words::CRYPTO_PASSES,
    ];
    html! {
        section {
            h2 { (page.say(words::TABLE)) }
            @if page.report.per_unit.is_empty() {
                p.absent { (page.say(words::NO_UNITS)) }
            } @else {
                p { (words::table_unit(page.language, &number::size(page.report.method.unit_bytes))) }
                (scrolled(page, words::TABLE, &head, &html! {
                    @for row in &page.report.per_unit { (count_row(page, row)) }
                }))
            }
        }
    }
}

fn count_row(page: &Page, row: &Row) -> Markup {
    let counts = [
        &row.syscalls,
        &row.mode_switches,
        &row.copies.by_cpu,
        &row.copies.by_dma,
    ];
    html! {
        tr {
            th scope="row" { (row.way) }
            td { (page.interface(&row.interface)) }
            @for count in counts { td { (counted::counted(page, count)) } }
            td { (counted::total(page, &row.copies)) }
            td { @if let Some(crypto) = &row.crypto { (counted::counted(page, &crypto.by_cpu)) } @else { "–" } }
        }
    }
}

/// The size from which on each way costs less CPU than copying.
pub(super) fn crossings(page: &Page) -> Markup {
    html! {
        section {
            h2 { (page.say(words::CROSSING)) }
            @if page.report.by_size.is_empty() {
                p.absent { (page.say(words::NO_TIMES)) }
            } @else {
                p { (page.say(words::CROSSING_INTRO)) }
                @for interface in page.report.used_interfaces() {
                    h3 { (page.interface(interface)) }
                    (chart::over(page, interface))
                    ul { @for way in [Way::Sendfile, Way::Underpass] { li { (crossing_sentence(page, way, interface)) } } }
                }
            }
        }
    }
}

fn crossing_sentence(page: &Page, way: Way, interface: &str) -> String {
    let (language, name) = (page.language, way.name());
    match crossing::of(page.report, way, interface) {
        Crossing::Untimed => words::crossing_untimed(language, name),
        Crossing::Never => words::crossing_never(language, name),
        Crossing::Always => words::crossing_always(language, name),
        Crossing::Between {
            copying,
            from,
            ratio,
        } => words::crossing_between(
            language,
            name,
            &number::size(copying),
            &number::size(from),
            &number::with_spread(&ratio),
        ),
    }
}

/// One stream to one consumer, and to many.
pub(super) fn streams(page: &Page) -> Markup {
    let head = [
        words::STREAM,
        words::CONSUMERS,
        words::WAY,
        words::RATE,
        words::CPU_DELIVERED,
        words::TIMES_CPU,
        words::CALLS,
        words::CPU_COPIES,
    ];
    html! {
        section {
            h2 { (page.say(words::STREAMS)) }
            @if page.report.streams.is_empty() {
                p.absent { (page.say(words::NO_STREAMS)) }
            } @else {
                p { (words::streams_intro(page.language, &number::size(page.report.method.unit_bytes))) }
                (scrolled(page, words::STREAMS, &head, &html! {
                    @for row in &page.report.streams { (stream_row(page, row)) }
                }))
            }
        }
    }
}

fn stream_row(page: &Page, row: &StreamRow) -> Markup {
    let timed = |summary: Option<&Summary>| {
        summary.map_or_else(
            || page.say(words::NOT_TIMED).to_owned(),
            number::with_spread,
        )
    };
    html! {
        tr {
            th scope="row" { (row.stream) }
            td { (row.consumers) }
            td { (row.way) }
            td { (timed(row.gb_per_s.as_ref())) }
            td { (timed(row.cpu_s_per_gb.as_ref())) }
            td { (timed(row.to_read_write.as_ref().map(|ratios| &ratios.cpu))) }
            td { (counted::counted(page, &row.syscalls)) }
            td { (counted::counted(page, &row.cpu_copies)) }
        }
    }
}

/// The share of the sender's CPU time that is spent in functions that copy.
pub(super) fn sampling(page: &Page) -> Markup {
    let rows = page.report.per_unit.iter().chain(&page.report.by_size);
    let sampled: Vec<_> = rows
        .filter_map(|row| Some((row, row.sampled.as_ref()?)))
        .collect();
    let head = [
        words::WAY,
        words::INTERFACE,
        words::SIZE,
        words::LOOKS,
        words::SHARE,
        words::FUNCTIONS,
    ];
    html! {
        section {
            h2 { (page.say(words::SAMPLING)) }
            @if sampled.is_empty() {
                p.absent { (page.say(words::NO_SAMPLING)) }
            } @else {
                p { (page.say(words::SAMPLING_INTRO)) }
                (scrolled(page, words::SAMPLING, &head, &html! {
                    @for (row, sampled) in sampled { (sampled_row(page, row, sampled)) }
                }))
            }
        }
    }
}

fn sampled_row(page: &Page, row: &Row, sampled: &Sampled) -> Markup {
    html! {
        tr {
            th scope="row" { (row.way) }
            td { (page.interface(&row.interface)) }
            td { (number::size(row.bytes)) }
            td { (sampled.samples) }
            td { (number::share(sampled.share, sampled.low, sampled.high)) }
            td {
                @if sampled.functions.is_empty() { (page.say(words::NO_FUNCTIONS)) }
                @for function in &sampled.functions { div { code { (function.name) } " " (function.samples) } }
            }
        }
    }
}

/// A table that scrolls by itself if the page is too narrow for it; the keyboard works too.
pub(super) fn scrolled(page: &Page, name: Text, head: &[Text], rows: &Markup) -> Markup {
    html! {
        div.scroll role="region" tabindex="0" aria-label=(page.say(name)) {
            table {
                thead { tr { @for name in head { th scope="col" { (page.say(*name)) } } } }
                tbody { (rows) }
            }
        }
    }
}
