//! The page, made from a report whose numbers are made up (`report.json`).

use std::fs;
use std::path::Path;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use scraper::{ElementRef, Html, Selector};
use sha2::{Digest as _, Sha256};
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
    let (page, script) = text.split_once("<script>").unwrap();
    let (script, after) = script.split_once("</script>").unwrap();
    for outside in ["http://", "https://", "@import", "<script", "<img", "src="] {
        assert!(
            !page.contains(outside) && !after.contains(outside),
            "{outside}"
        );
    }
    for outside in ["http", "fetch", "import", "eval", "innerHTML"] {
        assert!(!script.contains(outside), "{outside}");
    }
    let urls = text.matches("url(").count();
    assert_eq!(urls, text.matches("url(#stripes)").count());
}

/// No other script runs than the one whose hash the policy has.
#[test]
fn the_policy_allows_its_own_script_alone() {
    let text = render(&report(), Language::English);
    let script = text.split_once("<script>").unwrap().1;
    let script = script.split_once("</script>").unwrap().0;
    let hash = BASE64_STANDARD.encode(Sha256::digest(script));
    let page = parse(&text);
    let policy = all(&page, "meta[http-equiv='Content-Security-Policy']")[0];
    let policy = policy.attr("content").unwrap();
    assert!(policy.starts_with("default-src 'none'; "), "{policy}");
    let allowed = format!("; script-src 'sha256-{hash}'");
    assert!(policy.ends_with(&allowed), "{allowed} in {policy}");
}

/// What a shared link shows, and the card, are the headline.
#[test]
fn a_shared_link_says_the_result() {
    for language in Language::ALL {
        let page = parse(&render(&report(), language));
        let headline = text(all(&page, "h1")[0]);
        let meta = |name: &str| {
            let metas = all(&page, &format!("meta[property='og:{name}']"));
            metas[0].attr("content").unwrap().to_owned()
        };
        // A number and its unit stay on one line.
        assert_eq!(meta("title"), headline.replace('\u{a0}', " "));
        assert!(headline.contains("\u{a0}%") && headline.contains("\u{a0}MiB"));
        assert!(meta("description").contains(&report().machine.kernel));
        let card = text(all(&page, "#card")[0]);
        assert!(card.contains(&report().machine.kernel), "{card}");
        assert!(card.contains(&report().machine.processor), "{card}");
        let first = headline.split(' ').next().unwrap();
        assert!(card.contains(first), "{card}");
    }
}

#[test]
fn the_command_is_the_one_that_ran() {
    let mut report = report();
    let page = parse(&render(&report, Language::English));
    let shown = |page: &Html| text(all(page, "footer pre")[0]);
    assert!(shown(&page).starts_with("underpass measure --html "));
    report.command = Some("underpass measure --sizes 4K,1M --html 'a <b>.html'".to_owned());
    let page = parse(&render(&report, Language::English));
    assert_eq!(Some(shown(&page)), report.command);
}

/// The first pictures are the two that are compared; the others are folded, and are all there.
#[test]
fn two_pictures_are_open_and_the_others_folded() {
    let page = parse(&render(&report(), Language::English));
    let open = all(&page, ".chief .picture");
    assert_eq!(open.len(), 2);
    let folded = all(&page, "details .picture");
    assert_eq!(folded.len(), report().per_unit.len() - 2);
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
