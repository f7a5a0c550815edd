//! What `underpass top` reports: its schema and its page, from a report whose numbers are made up
//! (`report.json`).

use scraper::{Html, Selector};
use serde_json::{Value, json};
use underpass_measure::page;
use underpass_measure::top::{ProcessReport, TopReport};

fn schema() -> jsonschema::Validator {
    let schema = serde_json::from_str(include_str!("../../top.schema.json")).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("report.json")).unwrap()
}

fn report() -> TopReport {
    serde_json::from_value(fixture()).unwrap()
}

#[test]
fn a_report_is_accepted_as_it_was_written_and_as_it_is_written_again() {
    let schema = schema();
    let again = serde_json::to_value(report()).unwrap();
    for value in [fixture(), again.clone()] {
        let errors: Vec<_> = schema
            .iter_errors(&value)
            .map(|it| it.to_string())
            .collect();
        assert_eq!(errors, [""; 0]);
    }
    assert_eq!(again, fixture());
}

/// The numbers and verdicts of the made-up report are those that would be made from its counts.
#[test]
fn the_verdicts_follow_from_the_counts() {
    for process in report().processes {
        let mut again = ProcessReport::of(process.activity.clone());
        // What was 80.24 has more digits.
        again.mode_switches_per_mib = process.mode_switches_per_mib;
        assert_eq!(again, process);
    }
}

type Damage = fn(&mut Value);

#[test]
fn a_damaged_report_is_refused() {
    let damages: [(&str, Damage); 8] = [
        ("another form", |r| r["form"] = json!("underpass-top/2")),
        ("another family", |r| {
            first(r)["calls"][0]["family"] = json!("teleport");
        }),
        ("another end", |r| {
            first(r)["calls"][0]["from"] = json!("moon");
        }),
        ("a number that nobody knows", |r| {
            first(r)["copies"][0]["evidence"] = json!("unknown");
        }),
        ("evidence of no number", |r| {
            first(r)["copies_per_byte"]["value"] = Value::Null;
        }),
        ("a verdict that saves nothing", |r| {
            first(r)["verdict"]["remedy"] = Value::Null;
        }),
        ("a number below 0", |r| first(r)["bytes_in"] = json!(-1)),
        ("a field more", |r| first(r)["extra"] = json!(1)),
    ];
    let schema = schema();
    for (what, damage) in damages {
        let mut report = fixture();
        damage(&mut report);
        assert_ne!(report, fixture(), "{what}: damages nothing");
        assert!(!schema.is_valid(&report), "{what}");
    }
}

#[test]
fn a_field_less_is_refused_of_every_object_of_a_process() {
    let schema = schema();
    let fields = fixture()["processes"][0].as_object().unwrap().clone();
    assert!(fields.len() > 15);
    for name in fields.keys() {
        let mut report = fixture();
        first(&mut report).as_object_mut().unwrap().remove(name);
        assert!(!schema.is_valid(&report), "without {name}");
    }
}

fn first(report: &mut Value) -> &mut Value {
    &mut report["processes"][0]
}

fn parse(text: &str) -> Html {
    Html::parse_document(text)
}

fn texts(page: &Html, selector: &str) -> Vec<String> {
    let selector = Selector::parse(selector).unwrap();
    page.select(&selector)
        .map(|it| it.text().collect())
        .collect()
}

/// For who wants to look at it: `cargo test -p underpass-measure --test top_report --
/// --nocapture` prints the path.
#[test]
fn the_page_is_html_without_a_fault_and_shows_each_program() {
    let text = page::render_top(&report());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("top.html");
    std::fs::write(&path, &text).unwrap();
    println!("{}", path.display());
    let page = parse(&text);
    assert_eq!(page.errors, Vec::<String>::new());
    assert_eq!(texts(&page, "h1"), ["Which programs copy"]);
    // The thread of the kernel moved nothing.
    let cards = texts(&page, ".card");
    assert_eq!(cards.len(), 4);
    for (card, process) in cards.iter().zip(report().processes) {
        for part in [&process.activity.name, &process.verdict.line] {
            assert!(card.contains(part), "{part} in {card}");
        }
    }
    assert_eq!(texts(&page, ".card .picture").len(), 4);
    assert!(texts(&page, ".warnings")[0].contains("mmap faults are not counted"));
    assert!(texts(&page, "footer")[0].contains("underpass top --count 1 --json"));
    for outside in ["http://", "https://", "<script", "src=", "@import"] {
        assert!(!text.contains(outside), "{outside}");
    }
}

/// An arrow for each hop that copied, and none for one that did not.
#[test]
fn the_pictures_show_the_hops_that_were_counted() {
    let one = |index: usize| {
        let mut report = report();
        report.processes = vec![report.processes[index].clone()];
        parse(&page::render_top(&report))
    };
    for (index, arrows, lines) in [(0, 2, 0), (1, 0, 1), (2, 2, 0), (3, 0, 1)] {
        let page = one(index);
        assert_eq!(
            texts(&page, ".picture polygon.cpu").len(),
            arrows,
            "{index}"
        );
        assert_eq!(texts(&page, ".picture line.none").len(), lines, "{index}");
    }
    assert_eq!(texts(&one(1), "h1"), ["nginx: zero-copy: sendfile"]);
    assert!(texts(&one(3), ".picture")[0].contains('?'));
    assert!(texts(&one(2), ".picture")[0].contains("expected"));
}

#[test]
fn no_text_of_a_program_becomes_markup() {
    const HOSTILE: &str = r#"</title></style></svg>'"><script>alert(1)</script><b onclick="x">"#;
    let mut report = report();
    for process in &mut report.processes {
        process.activity.name = HOSTILE.to_owned();
        process.activity.command = Some(HOSTILE.to_owned());
    }
    report.notes.push(HOSTILE.to_owned());
    report.command = Some(HOSTILE.to_owned());
    let page = parse(&page::render_top(&report));
    assert_eq!(page.errors, Vec::<String>::new());
    assert!(texts(&page, "script, b, [onclick]").is_empty());
}

#[test]
fn a_page_of_nothing_says_so() {
    let mut report = report();
    report.processes.clear();
    let page = parse(&page::render_top(&report));
    assert!(texts(&page, "main")[0].contains("No process moved bytes"));
}
