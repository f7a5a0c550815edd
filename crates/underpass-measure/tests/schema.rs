//! `report.schema.json` says what a report is: all of it, and nothing else.

use serde_json::{Value, json};
use underpass_measure::Report;

fn schema() -> jsonschema::Validator {
    let schema = serde_json::from_str(include_str!("../report.schema.json")).unwrap();
    jsonschema::meta::validate(&schema).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("page/report.json")).unwrap()
}

#[test]
fn a_report_is_accepted_as_it_was_written_and_as_it_is_written_again() {
    let schema = schema();
    let told = |value: &Value| {
        schema
            .iter_errors(value)
            .map(|error| format!("{error}"))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(&fixture()), [""; 0]);
    let report: Report = serde_json::from_value(fixture()).unwrap();
    let again = serde_json::to_value(&report).unwrap();
    assert_eq!(told(&again), [""; 0]);
}

type Damage = fn(&mut Value);

/// Each damages a report at one place.
#[test]
fn a_damaged_report_is_refused() {
    let damages: [(&str, Damage); 12] = [
        ("another form", |r| r["form"] = json!("underpass-measure/2")),
        ("a guess", |r| {
            first(r)["syscalls"]["evidence"] = json!("guessed");
        }),
        ("a number that nobody knows", |r| {
            first(r)["syscalls"]["evidence"] = json!("unknown");
        }),
        ("evidence of no number", |r| {
            first(r)["syscalls"]["value"] = Value::Null;
        }),
        ("counted DMA", |r| {
            first(r)["copies"]["by_dma"]["evidence"] = json!("measured");
        }),
        ("counted DMA of a hop", |r| {
            first(r)["copies"]["hops"][0]["copies"]["evidence"] = json!("measured");
        }),
        ("another hop", |r| {
            first(r)["copies"]["hops"][0]["kind"] = json!("disk_to_moon");
        }),
        ("another mover", |r| {
            first(r)["copies"]["hops"][0]["mover"] = json!("gpu");
        }),
        ("another place", |r| {
            with_tls(r)["crypto"]["passes"][0]["place"] = json!("device");
        }),
        ("other work", |r| {
            with_tls(r)["crypto"]["passes"][0]["work"] = json!("compress");
        }),
        ("a number below 0", |r| first(r)["bytes"] = json!(-1)),
        ("silence about a missing probe", |r| {
            r["probes"][0]["used"] = json!(false);
            r["probes"][0]["note"] = Value::Null;
        }),
    ];
    let schema = schema();
    for (what, damage) in damages {
        let mut report = fixture();
        damage(&mut report);
        assert_ne!(report, fixture(), "{what}: damages nothing");
        assert!(!schema.is_valid(&report), "{what}");
    }
}

fn first(report: &mut Value) -> &mut Value {
    &mut report["per_unit"][0]
}

fn with_tls(report: &mut Value) -> &mut Value {
    let rows = report["per_unit"].as_array_mut().unwrap();
    let mut rows = rows.iter_mut();
    rows.find(|row| !row["crypto"].is_null()).unwrap()
}

/// Every object of the report, wherever it lies: none may have a field less or one more.
#[test]
fn a_field_less_or_one_more_is_refused_everywhere() {
    let (schema, whole) = (schema(), fixture());
    let mut tried = 0;
    for place in objects(&whole, String::new()) {
        let fields = whole.pointer(&place).unwrap().as_object().unwrap().clone();
        for name in fields.keys() {
            let mut report = whole.clone();
            fields_at(&mut report, &place).remove(name);
            assert!(!schema.is_valid(&report), "{place} without {name}");
            tried += 1;
        }
        let mut report = whole.clone();
        fields_at(&mut report, &place).insert("extra".to_owned(), json!(1));
        assert!(!schema.is_valid(&report), "{place} with more");
    }
    assert!(tried > 100, "only {tried} fields");
}

fn fields_at<'a>(report: &'a mut Value, place: &str) -> &'a mut serde_json::Map<String, Value> {
    report.pointer_mut(place).unwrap().as_object_mut().unwrap()
}

/// JSON pointers to all objects; of lists only the first and the last entry, since the others are
/// like them.
fn objects(value: &Value, at: String) -> Vec<String> {
    let mut found = Vec::new();
    match value {
        Value::Object(fields) => {
            let inner = fields.iter();
            found.extend(inner.flat_map(|(name, value)| objects(value, format!("{at}/{name}"))));
            found.push(at);
        }
        Value::Array(entries) => {
            let mut ends = vec![0, entries.len().saturating_sub(1)];
            ends.dedup();
            let inner = ends
                .into_iter()
                .filter_map(|index| Some((index, entries.get(index)?)));
            found.extend(inner.flat_map(|(index, value)| objects(value, format!("{at}/{index}"))));
        }
        _ => {}
    }
    found
}
