//! A number with the badge that says how it is known.

use maud::{Markup, html};

use super::words::{self, Text};
use super::{Page, notes};
use crate::number;
use crate::report::{Copies, Count, Evidence};

/// The number, its badge, and a link to the note with its evidence.
pub(super) fn counted(page: &Page, count: &Count) -> Markup {
    html! {
        span.counted { (value(count.value)) " " (badge(page, count)) }
    }
}

/// All copies, by the CPU and by DMA. The sum is only as certain as the less certain of the two.
pub(super) fn total(page: &Page, copies: &Copies) -> Markup {
    let parts = [&copies.by_cpu, &copies.by_dma];
    let weaker = if parts[1].evidence < parts[0].evidence {
        parts[1]
    } else {
        parts[0]
    };
    html! {
        span.counted { (value(copies.total())) " " (badge(page, weaker)) }
    }
}

/// A number that may be unknown.
pub(super) fn value(value: Option<f64>) -> String {
    value.map_or_else(|| "?".into(), number::count)
}

/// How a number is known, in one word.
pub(super) fn evidence(evidence: Evidence) -> Text {
    match evidence {
        Evidence::Measured => words::MEASURED,
        Evidence::Reported => words::REPORTED,
        Evidence::Expected => words::EXPECTED,
        Evidence::Unknown => words::UNKNOWN,
    }
}

fn badge(page: &Page, count: &Count) -> Markup {
    let class = match count.evidence {
        Evidence::Measured => "measured",
        Evidence::Reported => "reported",
        Evidence::Expected => "expected",
        Evidence::Unknown => "unknown",
    };
    html! {
        span.{ "badge " (class) } title=(page.told_plainly(&count.why)) { (page.say(evidence(count.evidence))) }
        @if let Some(note) = page.notes.number(&count.why) {
            sup { a href={ "#" (notes::anchor(note)) } title=(page.told_plainly(&count.why)) { (note) } }
        }
    }
}
