//! The result in one sentence, with what it was calculated from.

use super::{Language, words};
use crate::Way;
use crate::crossing::Difference;
use crate::number;
use crate::report::{Report, Row, Summary};

/// The size that the sentence is about, if it was timed; otherwise the largest one that was.
const SIZE: u64 = 16 << 20;

/// The result in one sentence, as the page begins with it.
pub(crate) fn sentence(report: &Report, language: Language) -> String {
    Headline::of(report, language).sentence
}

/// The result in one sentence.
pub(super) struct Headline<'a> {
    /// The sentence.
    pub(super) sentence: String,
    /// What it was calculated from, if times were taken.
    pub(super) detail: Option<String>,
    /// The interface that it is about; `None` if both ways were measured over none.
    pub(super) interface: Option<&'a str>,
    /// The CPU time of read-write and of sendfile, in seconds for each GB.
    pub(super) cost: Option<[Summary; 2]>,
}

impl<'a> Headline<'a> {
    pub(super) fn of(report: &'a Report, language: Language) -> Self {
        let mut used = report.used_interfaces();
        if let Some(timed) = used.find_map(|name| Self::timed(report, name, language)) {
            return timed;
        }
        let counted = |name: &&str| {
            let both = [Way::ReadWrite, Way::Sendfile];
            both.iter()
                .all(|way| report.unit(way.name(), name).is_some())
        };
        Self {
            sentence: words::TITLE.say(language).to_owned(),
            detail: None,
            interface: report.used_interfaces().find(counted),
            cost: None,
        }
    }

    fn timed(report: &'a Report, interface: &'a str, language: Language) -> Option<Self> {
        let timed = |row: &&Row| row.way == Way::Sendfile.name() && row.interface == interface;
        let rows = report.by_size.iter().filter(timed);
        let rows = rows.filter(|row| row.to_read_write.is_some());
        let row = rows.max_by_key(|row| (row.bytes == SIZE, row.bytes))?;
        let classic = report.by_size.iter().find(|other| {
            other.way == Way::ReadWrite.name()
                && other.interface == interface
                && other.bytes == row.bytes
        })?;
        let ratio = row.to_read_write?.cpu;
        let cost = [classic.cpu_s_per_gb?, row.cpu_s_per_gb?];
        let percent = ((1.0 - ratio.median) * 100.0).round().abs();
        let size = number::size(row.bytes);
        let sentence = match Difference::of(&ratio) {
            Difference::Less => words::saves(language, percent, &size),
            Difference::More => words::costs_more(language, percent, &size),
            Difference::Unclear => words::makes_no_difference(language, &size),
        };
        let detail = words::headline_detail(
            language,
            &words::interface(language, interface),
            cost.map(|cost| number::three_digits(cost.median)),
            [ratio.median, ratio.min, ratio.max].map(number::three_digits),
            report.method.rounds,
        );
        Some(Self {
            sentence,
            detail: Some(detail),
            interface: Some(interface),
            cost: Some(cost),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(ratio: [f64; 3]) -> String {
        let mut report = crate::page::fixture();
        for row in &mut report.by_size {
            if let (true, Some(ratios)) = (row.way == "sendfile", &mut row.to_read_write) {
                let [median, min, max] = ratio;
                ratios.cpu = Summary { median, min, max };
            }
        }
        Headline::of(&report, Language::English).sentence
    }

    #[test]
    fn it_says_what_was_measured_whichever_way_it_went() {
        let cases = [
            ([0.58, 0.55, 0.62], "saves 42 % of the CPU"),
            ([0.9, 0.8, 1.01], "makes no clear difference"),
            ([1.2, 0.99, 1.3], "makes no clear difference"),
            ([1.25, 1.1, 1.4], "costs 25 % more CPU"),
            ([2.5, 2.0, 3.0], "costs 150 % more CPU"),
        ];
        for (ratio, part) in cases {
            let sentence = sentence(ratio);
            assert!(sentence.contains(part), "{ratio:?}: {sentence}");
        }
    }

    #[test]
    fn one_round_has_no_range() {
        let mut report = crate::page::fixture();
        report.method.rounds = 1;
        let detail = Headline::of(&report, Language::English).detail.unwrap();
        assert!(detail.ends_with(", in the only round."), "{detail}");
    }

    #[test]
    fn without_times_it_claims_nothing() {
        let mut report = crate::page::fixture();
        report.by_size.clear();
        let headline = Headline::of(&report, Language::English);
        assert_eq!(headline.sentence, words::TITLE.say(Language::English));
        assert_eq!(headline.interface, Some("loopback"));
        assert!(headline.detail.is_none() && headline.cost.is_none());
    }
}
