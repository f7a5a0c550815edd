//! What the numbers say, in a sentence for each interface.

use maud::{Markup, html};

use super::{Page, counted, words};
use crate::Way;
use crate::report::{Count, Evidence};

/// The claim of zero-copy, and what was seen of it.
pub(super) fn section(page: &Page) -> Markup {
    let findings: Vec<_> = page
        .report
        .used_interfaces()
        .filter_map(|interface| finding(page, interface))
        .collect();
    html! {
        section.finding {
            p.lead { (page.say(words::MYTH)) }
            @if findings.is_empty() {
                p { (page.say(words::NO_COMPARISON)) }
            } @else {
                p { (words::on_this_kernel(page.language, &page.report.machine.kernel)) }
                ul { @for finding in findings { li { (finding) } } }
            }
        }
    }
}

/// `None` where only one of the two ways was counted, or neither.
fn finding(page: &Page, interface: &str) -> Option<String> {
    let copies = |way: Way| Some(&page.report.unit(way.name(), interface)?.copies);
    let (classic, sendfile) = (copies(Way::ReadWrite)?, copies(Way::Sendfile)?);
    let [a, b, c, d] = [
        &classic.by_cpu,
        &classic.by_dma,
        &sendfile.by_cpu,
        &sendfile.by_dma,
    ]
    .map(|count| times(page, count));
    let copies = words::copies(page.language, interface, [&a, &b], [&c, &d]);
    Some(format!("{copies} {}", page.say(verdict(&sendfile.by_cpu))))
}

fn times(page: &Page, count: &Count) -> String {
    let evidence = page.say(counted::evidence(count.evidence));
    words::times(page.language, &counted::value(count.value), evidence)
}

/// Only what was seen decides; less than a hundredth is the rounding of counters, not the file.
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
