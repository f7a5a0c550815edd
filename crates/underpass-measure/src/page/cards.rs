//! A card for each way and interface: its picture, and what it costs.

use maud::{Markup, html};

use super::{Page, counted, picture, words};
use crate::Way;
use crate::number;
use crate::report::{AbsentWay, Count, Row};

/// The two pictures that the page is about, side by side: the classic way and zero-copy, over the
/// interface of the headline.
pub(super) fn chief_section(page: &Page) -> Markup {
    html! {
        section.chief {
            @if page.report.per_unit.is_empty() {
                p.absent { (page.say(words::NO_UNITS)) }
            } @else {
                div.cards {
                    @for (name, row) in [words::CLASSIC, words::ZERO].iter().zip(chief(page)) {
                        @match row {
                            (_, Some(row)) => (titled_card(page, Some(page.say(*name)), row)),
                            (way, None) => (absent(page, way, None)),
                        }
                    }
                }
            }
        }
    }
}

/// All other ways and interfaces, folded.
pub(super) fn others_section(page: &Page) -> Markup {
    let shown: Vec<&Row> = chief(page).into_iter().filter_map(|(_, row)| row).collect();
    let rows = page.report.per_unit.iter();
    let (with_tls, others): (Vec<&Row>, Vec<&Row>) = rows
        .filter(|row| !shown.iter().any(|other| std::ptr::eq(*other, *row)))
        .partition(|row| row.crypto.is_some());
    let absent_ways = &page.report.absent_ways;
    html! {
        @if !page.report.per_unit.is_empty() {
            section {
                h2 { (page.say(words::PICTURES)) }
                (legend(page))
                @if !with_tls.is_empty() || !absent_ways.is_empty() {
                    details {
                        summary { (page.say(words::PICTURES_TLS)) }
                        div.cards {
                            @for row in with_tls { (card(page, row)) }
                            @for way in absent_ways { (absent_way(page, way)) }
                        }
                    }
                }
                details {
                    summary { (page.say(words::PICTURES_OTHERS)) }
                    div.cards {
                        @for row in others { (card(page, row)) }
                        @for gathers in [true, false] {
                            @if !has_sendfile(page, gathers) { (absent(page, Way::Sendfile, Some(gathers))) }
                        }
                    }
                }
            }
        }
    }
}

/// The two ways of the classic explanation, if they were counted over the headline's interface, or
/// over any.
fn chief<'a>(page: &Page<'a>) -> [(Way, Option<&'a Row>); 2] {
    let report = page.report;
    [Way::ReadWrite, Way::Sendfile].map(|way| {
        let interface = page.headline.interface;
        let row = interface.and_then(|interface| report.unit(way.name(), interface));
        let any = || report.per_unit.iter().find(|row| row.way == way.name());
        (way, row.or_else(any))
    })
}

/// Whether sendfile was counted over an interface that gathers, or over one that does not.
fn has_sendfile(page: &Page, gathers: bool) -> bool {
    let interfaces = page.report.interfaces.iter();
    let mut kind = interfaces.filter(|interface| interface.gathers == Some(gathers));
    kind.any(|interface| {
        let row = page.report.unit(Way::Sendfile.name(), &interface.name);
        row.is_some()
    })
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
                p { (page.say(words::INTERFACE)) (page.colon()) (page.say(kind)) }
                p { (page.say(words::NO_INTERFACE)) }
            } @else {
                p { (way.name()) " " (page.say(words::NOT_COUNTED)) }
            }
            @for (name, why) in missing { p { (page.interface(name)) (page.colon()) (page.told(why)) } }
        }
    }
}

/// A card for a way that cannot be measured on this machine.
fn absent_way(page: &Page, absent: &AbsentWay) -> Markup {
    html! {
        article.card.absent {
            h3 { (absent.way) }
            (meaning(page, &absent.way))
            p { (absent.way) " " (page.say(words::NOT_COUNTED)) (page.colon()) (page.told(&absent.missing)) }
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
    titled_card(page, None, row)
}

fn titled_card(page: &Page, title: Option<&str>, row: &Row) -> Markup {
    html! {
        article.card {
            @if let Some(title) = title { h2 { (title) } }
            h3 { (words::over(page.language, &row.way, &page.interface(&row.interface))) }
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
            (cost(picture::dma_copies(page, row), &row.copies.by_dma))
            dt { (page.say(words::ALL_COPIES)) }
            dd { (counted::total(page, &row.copies)) }
            @if let Some(crypto) = &row.crypto { (cost(words::CRYPTO_PASSES, &crypto.by_cpu)) }
        }
    }
}

pub(super) fn legend(page: &Page) -> Markup {
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
