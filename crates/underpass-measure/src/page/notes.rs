//! Footnotes: the evidence for every number that is shown, each text once.

use maud::{Markup, html};

use super::{Page, words};
use crate::report::{Count, Crypto, Report, Row};

/// The texts, in the order in which the rows contain them.
pub(super) struct Notes<'a>(Vec<&'a str>);

impl<'a> Notes<'a> {
    /// The texts of all numbers in [`Report::per_unit`] and [`Report::streams`].
    pub(super) fn of(report: &'a Report) -> Self {
        let mut grounds = Vec::new();
        let streams = report.streams.iter();
        let of_streams = streams.flat_map(|row| [&row.syscalls, &row.cpu_copies]);
        let all = report.per_unit.iter().flat_map(counts).chain(of_streams);
        for count in all {
            if !grounds.contains(&count.why.as_str()) {
                grounds.push(&count.why);
            }
        }
        Self(grounds)
    }

    /// The number of the note with this text.
    pub(super) fn number(&self, why: &str) -> Option<usize> {
        Some(self.0.iter().position(|ground| *ground == why)? + 1)
    }
}

/// All notes, for readers without a mouse and for print.
pub(super) fn section(page: &Page) -> Markup {
    html! {
        @if !page.notes.0.is_empty() {
            section {
                h2 { (page.say(words::GROUNDS)) }
                p { (page.say(words::GROUNDS_INTRO)) }
                ol.notes {
                    @for (index, why) in page.notes.0.iter().enumerate() {
                        li id=(anchor(index + 1)) { (page.told(why)) }
                    }
                }
            }
        }
    }
}

/// The anchor of a note in the page.
pub(super) fn anchor(number: usize) -> String {
    format!("note-{number}")
}

fn counts(row: &Row) -> impl Iterator<Item = &Count> {
    let own = [
        &row.syscalls,
        &row.mode_switches,
        &row.copies.by_cpu,
        &row.copies.by_dma,
    ];
    own.into_iter()
        .chain(row.copies.hops.iter().map(|hop| &hop.copies))
        .chain(row.crypto.iter().flat_map(of_crypto))
}

fn of_crypto(crypto: &Crypto) -> impl Iterator<Item = &Count> {
    let passes = crypto.passes.iter().map(|pass| &pass.count);
    [&crypto.by_cpu].into_iter().chain(passes)
}
