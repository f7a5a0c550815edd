//! What the page says is what the report says, with the same evidence.

use scraper::ElementRef;
use underpass_measure::page::{Language, render};
use underpass_measure::report::{Count, Evidence, HopKind};

use crate::{all, parse, report, text};

#[test]
fn every_count_stands_beside_its_evidence_and_its_grounds() {
    let report = report();
    let page = parse(&render(&report, Language::English));
    let mut cells = all(&page, ".scroll td .counted").into_iter();
    for row in &report.per_unit {
        let own = [
            &row.syscalls,
            &row.mode_switches,
            &row.copies.by_cpu,
            &row.copies.by_dma,
        ];
        for count in own {
            shows(cells.next().unwrap(), count);
        }
        let total = text(cells.next().unwrap());
        assert!(
            !total.contains("measured"),
            "DMA's part of it cannot be: {total}"
        );
        if let Some(crypto) = &row.crypto {
            shows(cells.next().unwrap(), &crypto.by_cpu);
        }
    }
    for row in &report.streams {
        for count in [&row.syscalls, &row.cpu_copies] {
            shows(cells.next().unwrap(), count);
        }
    }
    assert!(cells.next().is_none());
}

fn shows(cell: ElementRef<'_>, count: &Count) {
    let value = count
        .value
        .map_or("?".into(), |value| format!("{value:.2}"));
    let shown = text(cell);
    assert!(
        shown.starts_with(&format!("{value} {}", word(count))),
        "{shown}: {count:?}"
    );
    assert!(cell.html().contains(&count.why), "{shown}: {count:?}");
}

#[test]
fn an_arrow_is_drawn_where_bytes_were_moved_and_nowhere_else() {
    let report = report();
    let hops: Vec<_> = report
        .per_unit
        .iter()
        .flat_map(|row| &row.copies.hops)
        .collect();
    let moved = hops
        .iter()
        // Loopback and veth have no network card.
        .filter(|hop| hop.kind != HopKind::SocketToInterface)
        .filter(|hop| hop.copies.value.is_some_and(|copies| copies > 0.0))
        .count();
    let encrypted = report.per_unit.iter().filter(|row| row.crypto.is_some());
    let encrypted = encrypted.count();
    let page = parse(&render(&report, Language::English));
    assert_eq!(all(&page, ".picture polygon").len(), moved + encrypted);
    assert_eq!(all(&page, ".picture polygon.crypto").len(), encrypted);
    assert_eq!(all(&page, ".picture line.none").len(), hops.len() - moved);
    assert_eq!(all(&page, ".picture").len(), report.per_unit.len());
}

/// The passes of encryption of a picture, in words, as they are read aloud.
#[test]
fn a_picture_says_where_the_bytes_are_encrypted() {
    let page = parse(&render(&report(), Language::English));
    let told: Vec<_> = all(&page, ".picture svg")
        .iter()
        .filter_map(|picture| picture.attr("aria-label").unwrap().rsplit_once("; "))
        .filter_map(|(_, last)| last.starts_with("encrypted").then_some(last))
        .collect();
    let user = "encrypted in user space 1.00 times (measured)";
    let kernel = "encrypted by the kernel 1.00 times (measured)";
    assert_eq!(told, [user, user, kernel].repeat(3));
}

#[test]
fn twice_the_bytes_are_an_arrow_twice_as_wide() {
    let mut report = report();
    report.per_unit[0].copies.hops[1].copies.value = Some(2.0);
    let page = parse(&render(&report, Language::English));
    let arrows = all(&page, ".picture polygon");
    let [two, one] = [1, 2].map(|index: usize| width(arrows[index].attr("points").unwrap()));
    assert!((two / one - 2.0).abs() < 0.01, "{two} {one}");
}

#[test]
fn every_timed_row_has_its_bars() {
    let report = report();
    let page = parse(&render(&report, Language::English));
    assert_eq!(all(&page, ".bars .bar").len(), 2 * report.by_size.len());
}

/// The widest label of the vertical axis has room to its left for each of its characters.
#[test]
fn no_label_of_a_chart_is_cut_off() {
    let mut report = report();
    for ratios in report
        .by_size
        .iter_mut()
        .filter_map(|row| row.to_read_write.as_mut())
    {
        ratios.cpu.min = 0.002;
    }
    let page = parse(&render(&report, Language::English));
    let labels = all(&page, ".chart text[text-anchor=end]");
    assert!(labels.iter().any(|label| text(*label) == "×1/512"));
    for label in labels {
        let room: f64 = label.attr("x").unwrap().parse().unwrap();
        let shown = text(label);
        assert!(shown.chars().count() as f64 * 8.9 <= room, "{shown}");
    }
}

/// Of a vertical arrow: from its first corner to its last.
fn width(points: &str) -> f64 {
    let across: Vec<f64> = points
        .split(' ')
        .map(|corner| corner.split(',').next().unwrap().parse().unwrap())
        .collect();
    (across[0] - across[across.len() - 1]).abs()
}

fn word(count: &Count) -> &'static str {
    match count.evidence {
        Evidence::Measured => "measured",
        Evidence::Reported => "reported",
        Evidence::Expected => "expected",
        Evidence::Unknown => "unknown",
        other => panic!("{other:?} has no word yet"),
    }
}
