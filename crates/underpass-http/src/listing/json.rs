//! The list of entries as JSON.

use std::borrow::Cow;

use percent_encoding::percent_encode;
use serde::Serialize;

use super::{Entry, IN_URL, Kind, Page, utc};

#[derive(Serialize)]
struct Document<'a> {
    path: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded: Option<String>,
    entries: Vec<Item<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Item<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded: Option<String>,
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<String>,
}

pub(super) fn document(page: &Page<'_>) -> String {
    let path = page.full_path();
    let document = Document {
        path: String::from_utf8_lossy(&path),
        encoded: encoded(&path),
        entries: page.entries.iter().map(item).collect(),
        next: page.next_query(),
    };
    // Proof: to_string fails only for map keys that are not strings and for types that refuse to be
    // serialised. Neither occurs here.
    serde_json::to_string(&document).expect("strings and integers")
}

fn item(entry: &Entry) -> Item<'_> {
    Item {
        name: String::from_utf8_lossy(&entry.name),
        encoded: encoded(&entry.name),
        r#type: match entry.kind {
            Kind::Directory => "directory",
            Kind::File => "file",
        },
        size: (entry.kind == Kind::File).then_some(entry.size),
        modified: entry.modified.map(utc::rfc3339),
    }
}

/// The percent-encoded name, if the name is not UTF-8 and the text cannot express it.
fn encoded(bytes: &[u8]) -> Option<String> {
    let is_text = std::str::from_utf8(bytes).is_ok();
    (!is_text).then(|| percent_encode(bytes, IN_URL).to_string())
}
