//! The page: a report as one self-contained HTML document. It needs neither network nor scripts,
//! and is made to be read on a phone, on a desktop and in print.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::report::Report;

mod bars;
mod cards;
mod chart;
mod conditions;
mod counted;
mod finding;
mod headline;
mod language;
mod notes;
mod picture;
mod program;
mod share;
mod switches;
mod tables;
mod translate;
mod words;

pub(crate) use finding::{findings, myth};
pub(crate) use headline::sentence;
pub use language::Language;

const STYLE: &str = include_str!("page/style.css");

/// Nothing is loaded, and no script runs but the page's own, whatever the report contains.
fn policy() -> String {
    let script = share::SCRIPT_HASH;
    format!("default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src '{script}'")
}

/// The report as one HTML document. The same report always makes the same document.
pub fn render(report: &Report, language: Language) -> String {
    let page = Page {
        report,
        language,
        headline: headline::Headline::of(report, language),
        notes: notes::Notes::of(report),
    };
    document(&page).into_string()
}

/// What `underpass top` saw, as one HTML document, in English. The same report always makes the
/// same document.
pub fn render_top(report: &crate::top::TopReport) -> String {
    program::render(report)
}

/// What every part of the page is made from.
struct Page<'a> {
    report: &'a Report,
    language: Language,
    headline: headline::Headline<'a>,
    notes: notes::Notes<'a>,
}

impl Page<'_> {
    fn say(&self, text: words::Text) -> &'static str {
        text.say(self.language)
    }

    /// Text of the measurement, which is in English. What has no translation, such as an error of
    /// the kernel, is marked as English.
    fn told(&self, text: &str) -> Markup {
        match self.language {
            Language::English => html! { (text) },
            Language::Chinese => html! {
                @if let Some(chinese) = translate::chinese(text) {
                    (chinese)
                } @else {
                    span lang="en" { (text) }
                }
            },
        }
    }

    /// The same for an attribute, where no language can be marked.
    fn told_plainly(&self, text: &str) -> String {
        let chinese = match self.language {
            Language::English => None,
            Language::Chinese => translate::chinese(text),
        };
        chinese.unwrap_or_else(|| text.to_owned())
    }

    /// What stands between a name and what is said of it.
    fn colon(&self) -> &'static str {
        match self.language {
            Language::English => ": ",
            Language::Chinese => "：",
        }
    }

    /// The name of an interface.
    fn interface(&self, name: &str) -> String {
        words::interface(self.language, name)
    }
}

fn document(page: &Page) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(page.language.tag()) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content={ "underpass " (page.report.version) };
                link rel="icon" href="data:,";
                title { (page.headline.sentence) " – underpass" }
                (share::head(page))
                style { (PreEscaped(STYLE)) }
            }
            body {
                (picture::definitions())
                (header(page))
                main {
                    (cards::chief_section(page))
                    (finding::section(page))
                    (warnings(page))
                    (tables::crossings(page))
                    (cards::others_section(page))
                    (tables::counts(page))
                    (bars::section(page))
                    (tables::streams(page))
                    (tables::sampling(page))
                    (conditions::section(page))
                    (conditions::terms(page))
                    (notes::section(page))
                }
                (conditions::repeat(page))
                (share::script())
            }
        }
    }
}

fn header(page: &Page) -> Markup {
    let report = page.report;
    html! {
        header {
            h1 { (unbroken(&page.headline.sentence)) }
            @if let Some(detail) = &page.headline.detail { p.detail { (unbroken(detail)) } }
            p { (report.machine.processors) " × " (report.machine.processor) " · " "underpass " (report.version) " · " time.counted datetime=(report.began) { (report.began) } " · " (report.machine.kernel) }
        }
    }
}

/// The sentence with each number and its unit on one line.
fn unbroken(sentence: &str) -> String {
    let units = ["%", "s", "KiB", "MiB", "GiB", "GB"];
    let mut words = sentence.split(' ');
    let mut whole = words.next().unwrap_or_default().to_owned();
    for word in words {
        let number = whole.ends_with(|last: char| last.is_ascii_digit());
        let space = if number && units.contains(&word) {
            '\u{a0}'
        } else {
            ' '
        };
        whole.push(space);
        whole.push_str(word);
    }
    whole
}

fn warnings(page: &Page) -> Markup {
    html! {
        @if !page.report.warnings.is_empty() {
            section.warnings {
                h2 { (page.say(words::WARNINGS)) }
                ul { @for warning in &page.report.warnings { li { (page.told(warning)) } } }
            }
        }
    }
}

/// The report for the tests of the page.
#[cfg(test)]
pub(crate) fn fixture() -> Report {
    serde_json::from_str(include_str!("../tests/page/report.json")).unwrap()
}
