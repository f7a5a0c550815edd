//! The page, made from a report whose numbers are made up (`report.json`).

use std::fs;
use std::path::Path;

use scraper::{ElementRef, Html, Selector};
use underpass_measure::Report;
use underpass_measure::page::{Language, render};

mod contrast;
mod hostile;
mod numbers;
mod translation;

#[test]
fn it_is_html_without_a_fault() {
    for language in Language::ALL {
        let text = render(&report(), language);
        assert_eq!(parse(&text).errors, Vec::<String>::new());
        keep(&format!("page-{}.html", language.name()), &text);
    }
}

#[test]
fn the_same_report_makes_the_same_page() {
    for language in Language::ALL {
        assert_eq!(render(&report(), language), render(&report(), language));
    }
}

#[test]
fn it_needs_nothing_beside_itself() {
    let text = render(&report(), Language::English);
    for outside in ["http://", "https://", "@import", "<script", "<img", "src="] {
        assert!(!text.contains(outside), "{outside}");
    }
    let urls = text.matches("url(").count();
    assert_eq!(urls, text.matches("url(#stripes)").count());
}

#[test]
fn every_link_leads_somewhere() {
    let page = parse(&render(&report(), Language::English));
    let links = all(&page, "a");
    assert!(!links.is_empty());
    for link in links {
        let target = link.attr("href").unwrap().strip_prefix('#').unwrap();
        assert_eq!(all(&page, &format!("[id='{target}']")).len(), 1, "{target}");
    }
}

#[test]
fn what_is_missing_says_why() {
    let mut report = report();
    report.per_unit.clear();
    report.by_size.clear();
    report.streams.clear();
    report.warnings.clear();
    for interface in &mut report.interfaces {
        interface.missing = Some(format!("{} needs root", interface.name));
    }
    let page = parse(&render(&report, Language::English));
    assert_eq!(all(&page, "section > .absent").len(), 6);
    let told = text(page.root_element());
    for interface in &report.interfaces {
        assert!(told.contains(interface.missing.as_ref().unwrap()), "{told}");
    }
}

#[test]
fn a_way_that_was_not_counted_has_a_card_that_says_why() {
    let mut report = report();
    report
        .per_unit
        .retain(|row| row.interface != "veth-no-gather");
    report.interfaces[2].missing = Some("ip: Operation not permitted; run it as root".into());
    let page = parse(&render(&report, Language::English));
    let cards = all(&page, ".card.absent");
    assert_eq!(cards.len(), 1);
    let told = text(cards[0]);
    assert!(
        told.contains("sendfile") && told.contains("run it as root"),
        "{told}"
    );
}

#[test]
fn a_way_that_this_kernel_does_not_have_says_why() {
    let mut report = serde_json::to_value(report()).unwrap();
    let rows = report["per_unit"].as_array_mut().unwrap();
    rows.retain(|row| row["way"] != "tls-sendfile");
    report["absent_ways"] =
        serde_json::json!([{"way": "tls-sendfile", "missing": "the kernel has no TLS: ENOENT"}]);
    let report = serde_json::from_value(report).unwrap();
    let page = parse(&render(&report, Language::English));
    let told = text(all(&page, ".card.absent")[0]);
    for part in ["tls-sendfile", "TLS in the kernel", "no TLS: ENOENT"] {
        assert!(told.contains(part), "{told}");
    }
}

/// For who wants to look at it: `cargo test -p underpass-measure --test page -- --nocapture` prints
/// the path.
fn keep(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    println!("{}", path.display());
}

fn report() -> Report {
    serde_json::from_str(include_str!("report.json")).unwrap()
}

fn parse(text: &str) -> Html {
    Html::parse_document(text)
}

fn all<'a>(page: &'a Html, selector: &str) -> Vec<ElementRef<'a>> {
    page.select(&Selector::parse(selector).unwrap()).collect()
}

fn text(element: ElementRef<'_>) -> String {
    element.text().collect()
}
