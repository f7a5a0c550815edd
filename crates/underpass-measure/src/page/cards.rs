//! A card for each way and interface: its picture, and what it costs.

use maud::{Markup, html};

use super::{Page, counted, picture, words};
use crate::Way;
use crate::number;
use crate::report::{AbsentWay, Count, Row};

/// First the three ways of the classic explanation (S1 to S3), then those with TLS, then the
/// others.
pub(super) fn section(page: &Page) -> Markup {
    let chief = chief(page);
    let shown: Vec<&Row> = chief.iter().filter_map(|(row, _)| *row).collect();
    let rows = page.report.per_unit.iter();
    let (with_tls, others): (Vec<&Row>, Vec<&Row>) = rows
        .filter(|row| !shown.iter().any(|other| std::ptr::eq(*other, *row)))
        .partition(|row| row.crypto.is_some());
    let absent = &page.report.absent_ways;
    html! {
        section {
            h2 { (page.say(words::PICTURES)) }
            @if page.report.per_unit.is_empty() {
                p.absent { (page.say(words::NO_UNITS)) }
            } @else {
                (legend(page))
                div.cards {
                    @for (row, absent) in &chief {
                        @if let Some(row) = row { (card(page, row)) } @else { (absent) }
                    }
                }
                @if !with_tls.is_empty() || !absent.is_empty() {
                    h3 { (page.say(words::PICTURES_TLS)) }
                    div.cards {
                        @for row in with_tls { (card(page, row)) }
                        @for way in absent { (absent_way(page, way)) }
                    }
                }
                @if !others.is_empty() {
                    h3 { (page.say(words::PICTURES_OTHERS)) }
                    div.cards { @for row in others { (card(page, row)) } }
                }
            }
        }
    }
}

/// The three ways that the classic explanation is about, each with a replacement in case it is
/// missing.
fn chief<'a>(page: &Page<'a>) -> [(Option<&'a Row>, Markup); 3] {
    let report = page.report;
    let sendfile = |gathers: bool| {
        let interfaces = report
            .interfaces
            .iter()
            .filter(|interface| interface.gathers == Some(gathers));
        interfaces
            .map(|interface| interface.name.as_str())
            .find_map(|name| report.unit(Way::Sendfile.name(), name))
    };
    let classic = report
        .per_unit
        .iter()
        .find(|row| row.way == Way::ReadWrite.name());
    [
        (classic, absent(page, Way::ReadWrite, None)),
        (sendfile(true), absent(page, Way::Sendfile, Some(true))),
        (sendfile(false), absent(page, Way::Sendfile, Some(false))),
    ]
}

/// A card for a way that was not measured: which way, and why.
fn absent(page: &Page, way: Way, gathers: Option<bool>) -> Markup {
    let kind = gathers.map(|gathers| {
        if gathers {
            words::GATHERS
        } else {
            words::GATHERS_NOT
        }
    });
    let missing = page
        .report
        .interfaces
        .iter()
        .filter(|interface| {
            gathers.is_some() && (interface.gathers == gathers || interface.gathers.is_none())
        })
        .filter_map(|interface| Some((interface.name.as_str(), interface.missing.as_deref()?)));
    html! {
        article.card.absent {
            h3 { (way.name()) }
            @if let Some(kind) = kind {
                p { (page.say(words::INTERFACE)) ": " (page.say(kind)) }
                p { (page.say(words::NO_INTERFACE)) }
            } @else {
                p { (way.name()) " " (page.say(words::NOT_COUNTED)) }
            }
            @for (name, why) in missing { p { (name) ": " (page.english(why)) } }
        }
    }
}

/// A card for a way that cannot be measured on this machine.
fn absent_way(page: &Page, absent: &AbsentWay) -> Markup {
    html! {
        article.card.absent {
            h3 { (absent.way) }
            (meaning(page, &absent.way))
            p { (absent.way) " " (page.say(words::NOT_COUNTED)) ": " (page.english(&absent.missing)) }
        }
    }
}

/// What the name of a way with TLS stands for.
fn meaning(page: &Page, way: &str) -> Markup {
    let text = match way.parse() {
        Ok(Way::TlsReadWrite) => Some(words::TLS_READ_WRITE),
        Ok(Way::TlsSeal) => Some(words::TLS_SEAL),
        Ok(Way::TlsSendfile) => Some(words::TLS_SENDFILE),
        _ => None,
    };
    html! { @if let Some(text) = text { p.unit.meaning { (page.say(text)) } } }
}

fn card(page: &Page, row: &Row) -> Markup {
    html! {
        article.card {
            h3 { (words::over(page.language, &row.way, &row.interface)) }
            (meaning(page, &row.way))
            (picture::of(page, row))
            div.numbers { (costs(page, row)) }
        }
    }
}

fn costs(page: &Page, row: &Row) -> Markup {
    let cost = |name, count: &Count| html! { dt { (page.say(name)) } dd { (counted::counted(page, count)) } };
    html! {
        p.unit { (words::for_each(page.language, &number::size(row.bytes))) }
        dl.costs {
            (cost(words::CALLS, &row.syscalls))
            (cost(words::MODE_SWITCHES, &row.mode_switches))
        }
        p.unit { (page.say(words::FOR_EACH_BYTE)) }
        dl.costs {
            (cost(words::CPU_COPIES, &row.copies.by_cpu))
            (cost(words::DMA_COPIES, &row.copies.by_dma))
            dt { (page.say(words::ALL_COPIES)) }
            dd { (counted::total(page, &row.copies)) }
            @if let Some(crypto) = &row.crypto { (cost(words::CRYPTO_PASSES, &crypto.by_cpu)) }
        }
    }
}

fn legend(page: &Page) -> Markup {
    let evidence = [
        ("measured", words::MEASURED, words::MEASURED_MEANS),
        ("reported", words::REPORTED, words::REPORTED_MEANS),
        ("expected", words::EXPECTED, words::EXPECTED_MEANS),
        ("unknown", words::UNKNOWN, words::UNKNOWN_MEANS),
    ];
    html! {
        aside.legend {
            h3 { (page.say(words::LEGEND)) }
            p { (page.say(words::LEGEND_WIDTH)) }
            ul {
                @for (class, text) in [("cpu", words::LEGEND_CPU), ("dma", words::LEGEND_DMA), ("crypto", words::LEGEND_CRYPTO), ("none", words::LEGEND_NONE)] {
                    li { (picture::legend(class)) " " (page.say(text)) }
                }
                @for (class, name, meaning) in evidence {
                    li { span.{ "badge " (class) } { (page.say(name)) } " " (page.say(meaning)) }
                }
            }
        }
    }
}
