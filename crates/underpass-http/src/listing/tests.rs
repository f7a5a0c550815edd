//! Tests what a listing says about a directory, as text.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::time::Duration;

use super::*;

/// 2026-11-22 10:00 UTC.
const TEN: u64 = 1_795_341_600;

fn entry(name: &str, kind: Kind, size: u64) -> Entry {
    Entry {
        name: name.into(),
        kind,
        size,
        modified: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(TEN)),
    }
}

#[test]
fn json_to_the_byte() {
    let entries = vec![
        entry("x.txt", Kind::File, 12),
        entry("d", Kind::Directory, 0),
    ];
    let page = Page::new(b"a/b", entries, Order::default());
    let expected = concat!(
        r#"{"path":"/a/b/","entries":["#,
        r#"{"name":"d","type":"directory","modified":"2026-11-22T10:00:00Z"},"#,
        r#"{"name":"x.txt","type":"file","size":12,"modified":"2026-11-22T10:00:00Z"}]}"#,
    );
    assert_eq!(page.json(), expected);
}

#[test]
fn json_of_an_empty_root() {
    let page = Page::new(b"", Vec::new(), Order::default());
    assert_eq!(page.json(), r#"{"path":"/","entries":[]}"#);
}

#[test]
fn json_gives_names_back() {
    let name = "a\"\\\n\u{202e}🦀<";
    let entries = vec![entry(name, Kind::File, u64::MAX)];
    let page = Page::new(b"", entries, Order::default());
    let value: serde_json::Value = serde_json::from_str(&page.json()).unwrap();
    assert_eq!(value["entries"][0]["name"], name);
    assert_eq!(value["entries"][0]["size"], u64::MAX);
}

#[test]
fn json_is_asked_for_by_name() {
    for query in ["format=json", "sort=size&format=json", "format=json&x"] {
        assert!(wants_json(query), "{query}");
    }
    for query in [
        "",
        "format",
        "format=",
        "format=JSON",
        "format=html&format=json",
        "xformat=json",
    ] {
        assert!(!wants_json(query), "{query}");
    }
}

#[test]
fn from_a_directory_to_both() {
    let root = tempfile::tempdir().unwrap();
    let at = |name: &str| root.path().join(name);
    fs::create_dir(at("sub")).unwrap();
    fs::write(at("sub/10.txt"), "ten").unwrap();
    fs::write(at("sub/9.txt"), "nine").unwrap();
    symlink("..", at("sub/up")).unwrap();
    let sub = File::open(at("sub")).unwrap();
    let root = crate::file::Root::new(root.path().to_owned());
    let which = Which {
        hidden: false,
        rules: None,
        symlinks: Some(Beneath {
            root: &root,
            path: b"sub",
        }),
    };
    let entries = read(sub.as_fd(), which).unwrap();
    let page = Page::new(b"sub", entries, Order::default());
    let value: serde_json::Value = serde_json::from_str(&page.json()).unwrap();
    let names = value["entries"].as_array().unwrap();
    let names: Vec<_> = names.iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names, ["up", "9.txt", "10.txt"]);
    assert!(page.html().contains("1 directory, 2 files, "));
}

#[test]
fn a_page_of_several_leads_to_the_next() {
    let order = Order::from_query("sort=size&order=desc");
    let page = Page::new(b"d", Vec::new(), order).next(Some("a b&c".to_owned()));
    let next = "?sort=size&order=desc&after=a%20b%26c";
    let json = format!(r#"{{"path":"/d/","entries":[],"next":"{next}"}}"#);
    assert_eq!(page.json(), json);
    let link =
        r#"<a href="?sort=size&amp;order=desc&amp;after=a%20b%26c" rel="next">Next page</a>"#;
    assert!(page.html().contains(link), "{}", page.html());
    assert_eq!(wanted_page(&next[1..]).as_deref(), Some("a b&c"));
}
