//! A listing for programs.

use serde::Serialize;

use super::{Entry, Kind, Page, utc};

#[derive(Serialize)]
struct Document<'a> {
    path: String,
    entries: Vec<Item<'a>>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    modified: String,
}

pub(super) fn document(page: &Page<'_>) -> String {
    let document = Document {
        path: page.full_path(),
        entries: page.entries.iter().map(item).collect(),
    };
    // Proof: to_string fails only for keys that are no strings and for types that refuse, and here is neither.
    serde_json::to_string(&document).expect("strings and integers")
}

fn item(entry: &Entry) -> Item<'_> {
    Item {
        name: &entry.name,
        r#type: match entry.kind {
            Kind::Directory => "directory",
            Kind::File => "file",
        },
        size: (entry.kind == Kind::File).then_some(entry.size),
        modified: utc::rfc3339(entry.modified),
    }
}
