//! A report may come from anywhere: nothing in it becomes markup.

use serde_json::Value;
use underpass_measure::Report;
use underpass_measure::page::{Language, render};

use crate::{all, parse, report, text};

const HOSTILE: &str = r#"</title></style></svg>'"><script>alert(1)</script><b onclick="x">&lt;"#;

/// The evidence of numbers, hops, movers and passes are enumerations: nothing else is accepted
/// there.
const CHECKED: [&str; 5] = ["evidence", "kind", "mover", "work", "place"];

#[test]
fn no_text_of_a_report_becomes_markup() {
    let mut value = serde_json::to_value(report()).unwrap();
    poison(&mut value);
    let report: Report = serde_json::from_value(value).unwrap();
    for language in Language::ALL {
        let page = parse(&render(&report, language));
        assert_eq!(page.errors, Vec::<String>::new());
        assert_eq!(all(&page, "script").len(), 1, "the page's own");
        assert!(all(&page, "b, [onclick]").is_empty());
        assert!(text(page.root_element()).contains(HOSTILE));
    }
}

/// Puts [`HOSTILE`] behind every text, so that equal texts stay equal.
fn poison(value: &mut Value) {
    match value {
        Value::String(text) => text.push_str(HOSTILE),
        Value::Array(items) => items.iter_mut().for_each(poison),
        Value::Object(fields) => {
            for (name, field) in fields {
                if !CHECKED.contains(&name.as_str()) {
                    poison(field);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}
