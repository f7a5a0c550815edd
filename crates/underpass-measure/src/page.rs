//! The page: a report as one self-contained HTML document. It needs neither network nor scripts,
//! and is made to be read on a phone, on a desktop and in print.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::Report;

mod bars;
mod cards;
mod conditions;
mod counted;
mod finding;
mod language;
mod notes;
mod picture;
mod switches;
mod tables;
mod words;

pub(crate) use finding::{findings, myth};
pub use language::Language;

const STYLE: &str = include_str!("page/style.css");

/// Nothing is loaded, whatever the report contains.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src data:";

/// The report as one HTML document. The same report always makes the same document.
pub fn render(report: &Report, language: Language) -> String {
    let page = Page {
        report,
        language,
        notes: notes::Notes::of(report),
    };
    document(&page).into_string()
}

/// What every part of the page is made from.
struct Page<'a> {
    report: &'a Report,
    language: Language,
    notes: notes::Notes<'a>,
}

impl Page<'_> {
    fn say(&self, text: words::Text) -> &'static str {
        text.say(self.language)
    }

    /// A note that the following text is in English, for pages in another language.
    fn in_english(&self) -> Markup {
        html! {
            @if self.language != Language::English { p.unit { (self.say(words::MEASURING_SPEAKS)) } }
        }
    }

    /// Text of the measurement, which is always in English.
    fn english(&self, text: &str) -> Markup {
        match self.language {
            Language::English => html! { (text) },
            Language::Chinese => html! { span lang="en" { (text) } },
        }
    }
}

fn document(page: &Page) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(page.language.tag()) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "underpass " (page.report.version) };
                link rel="icon" href="data:,";
                title { (page.say(words::TITLE)) " – underpass" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (picture::definitions())
                (header(page))
                main {
                    (finding::section(page))
                    (warnings(page))
                    (cards::section(page))
                    (tables::counts(page))
                    (bars::section(page))
                    (tables::crossings(page))
                    (tables::streams(page))
                    (tables::sampling(page))
                    (conditions::section(page))
                    (conditions::terms(page))
                    (notes::section(page))
                }
                (conditions::repeat(page))
            }
        }
    }
}

fn header(page: &Page) -> Markup {
    let report = page.report;
    html! {
        header {
            h1 { (page.say(words::TITLE)) }
            p { "underpass " (report.version) " · " time datetime=(report.began) { (report.began) } " · " (report.machine.kernel) }
        }
    }
}

fn warnings(page: &Page) -> Markup {
    html! {
        @if !page.report.warnings.is_empty() {
            section.warnings {
                h2 { (page.say(words::WARNINGS)) }
                (page.in_english())
                ul { @for warning in &page.report.warnings { li { (page.english(warning)) } } }
            }
        }
    }
}

/// The report for the tests of the page.
#[cfg(test)]
pub(crate) fn fixture() -> Report {
    serde_json::from_str(include_str!("../tests/page/report.json")).unwrap()
}
