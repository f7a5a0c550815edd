//! The page, made from a report whose numbers are made up (`report.json`).

use std::path::Path;
use std::{env, fs};

use scraper::{Html, Selector};
use underpass_measure::Report;
use underpass_measure::page::{Language, render};

#[test]
fn it_is_html_without_a_fault() {
    for language in Language::ALL {
        let text = render(&report(), language);
        let page = Html::parse_document(&text);
        assert_eq!(page.errors, Vec::<String>::new());
        keep(&format!("page-{}.html", language.name()), &text);
    }
}

#[test]
fn the_same_report_makes_the_same_page() {
    assert_eq!(
        render(&report(), Language::Chinese),
        render(&report(), Language::Chinese)
    );
}

/// For who wants to look at it; the path is printed when the test is run with `--nocapture`.
fn keep(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, text).unwrap();
    println!("{}", path.display());
}

fn report() -> Report {
    serde_json::from_str(include_str!("report.json")).unwrap()
}
