//! What the numbers show, in a sentence for each interface.

use maud::{Markup, html};

use super::{Language, Page, counted, words};
use crate::Way;
use crate::report::{Count, Evidence, Report};

/// The claim of zero-copy, and what the measurement says about it.
pub(super) fn section(page: &Page) -> Markup {
    let findings = findings(page.report, page.language);
    html! {
        section.finding {
            p.lead { (myth(page.language)) }
            @if findings.is_empty() {
                p { (page.say(words::NO_COMPARISON)) }
            } @else {
                p { (words::on_this_kernel(page.language, &page.report.machine.kernel)) }
                ul { @for finding in findings { li { (finding) } } }
            }
        }
    }
}

/// What zero-copy means, and what it does not mean.
pub(crate) fn myth(language: Language) -> &'static str {
    words::MYTH.say(language)
}

/// A sentence for each interface on which both ways were counted, and one for each on which ways
/// with TLS were.
pub(crate) fn findings(report: &Report, language: Language) -> Vec<String> {
    let plain = report
        .used_interfaces()
        .filter_map(|interface| finding(report, language, interface));
    let with_tls = report
        .used_interfaces()
        .filter_map(|interface| finding_with_tls(report, language, interface));
    plain.chain(with_tls).collect()
}

fn finding_with_tls(report: &Report, language: Language, interface: &str) -> Option<String> {
    let rows = report.per_unit.iter();
    let rows = rows.filter(|row| row.interface == interface);
    let ways: Vec<String> = rows
        .filter_map(|row| {
            let copies = times(language, &row.copies.by_cpu);
            let passes = times(language, &row.crypto.as_ref()?.by_cpu);
            Some(words::way_with_tls(language, &row.way, &copies, &passes))
        })
        .collect();
    (!ways.is_empty())
        .then(|| words::with_tls(language, &words::interface(language, interface), &ways))
}

fn finding(report: &Report, language: Language, interface: &str) -> Option<String> {
    let copies = |way: Way| Some(&report.unit(way.name(), interface)?.copies);
    let (classic, sendfile) = (copies(Way::ReadWrite)?, copies(Way::Sendfile)?);
    let [a, b, c, d] = [
        &classic.by_cpu,
        &classic.by_dma,
        &sendfile.by_cpu,
        &sendfile.by_dma,
    ]
    .map(|count| times(language, count));
    let copies = words::copies(
        language,
        &words::interface(language, interface),
        [&a, &b],
        [&c, &d],
    );
    let verdict = verdict(&sendfile.by_cpu).say(language);
    let space = if language == Language::English {
        " "
    } else {
        ""
    };
    Some(format!("{copies}{space}{verdict}"))
}

fn times(language: Language, count: &Count) -> String {
    let evidence = counted::evidence(count.evidence).say(language);
    words::times(language, &counted::value(count.value), evidence)
}

/// Only measured counts decide. Less than a hundredth is rounding of the counters, not a copy of
/// the file.
fn verdict(by_cpu: &Count) -> words::Text {
    let seen = matches!(by_cpu.evidence, Evidence::Measured | Evidence::Reported);
    match by_cpu.value.filter(|_| seen) {
        Some(copies) if copies < 0.01 => words::ZERO_COPY,
        Some(_) => words::NOT_ZERO_COPY,
        None => words::ZERO_COPY_UNSEEN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_seen_is_called_zero_copy() {
        let cases = [
            (Count::measured(0.0, ""), words::ZERO_COPY),
            (Count::measured(1.0, ""), words::NOT_ZERO_COPY),
            (
                Count::new(Some(0.0), Evidence::Reported, ""),
                words::ZERO_COPY,
            ),
            (Count::expected(0.0, ""), words::ZERO_COPY_UNSEEN),
            (Count::unknown(""), words::ZERO_COPY_UNSEEN),
        ];
        for (count, text) in cases {
            assert_eq!(verdict(&count), text, "{count:?}");
        }
    }
}
