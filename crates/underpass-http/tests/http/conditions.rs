//! Preconditions (RFC 9110 section 13) and their precedence (13.2.2).

use std::time::{Duration, SystemTime};

use http::HeaderValue;

use crate::support::{Client, Server, Tree, bytes, curl, needs, set_modified};

const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
const MODIFIED: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

/// A file with the time `MODIFIED`, and a sibling, so that there is a Vary field.
fn tree(content: &[u8]) -> Tree {
    let tree = Tree::of(&[("file", content), ("file.gz", b"no gzip")]);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    set_modified(&tree.path("file"), at);
    tree
}

fn server(tree: &Tree) -> Server {
    let cache_control = HeaderValue::from_static("max-age=9");
    Server::new(
        tree.serve_fresh()
            .precompressed_gzip()
            .cache_control(cache_control),
    )
}

#[test]
fn preconditions_in_their_order() {
    for content in [bytes(1, 700), bytes(1, 70_000)] {
        let tree = tree(&content);
        let server = server(&tree);
        let etag = Client::get(&server, "/file", "").etag().to_owned();
        for (fields, status) in [
            ("", 200),
            // Tags that the client has.
            ("If-None-Match: E\r\n", 304),
            ("If-None-Match: W/E\r\n", 304),
            ("If-None-Match: \"x\", W/\"y\" ,E,\"z\"\r\n", 304),
            ("If-None-Match: \"x\"\r\nIf-None-Match: E\r\n", 304),
            ("If-None-Match: *\r\n", 304),
            ("If-None-Match: \"x\"\r\n", 200),
            ("If-None-Match: nonsense\r\n", 200),
            // Dates, for clients without tags.
            ("If-Modified-Since: BEFORE\r\n", 200),
            ("If-Modified-Since: MODIFIED\r\n", 304),
            ("If-Modified-Since: AFTER\r\n", 304),
            ("If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n", 304),
            ("If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n", 304),
            ("If-Modified-Since: yesterday\r\n", 200),
            // Tags that the file must have, compared strongly.
            ("If-Match: E\r\n", 200),
            ("If-Match: \"x\", E\r\n", 200),
            ("If-Match: *\r\n", 200),
            ("If-Match: W/E\r\n", 412),
            ("If-Match: \"x\"\r\n", 412),
            ("If-Unmodified-Since: BEFORE\r\n", 412),
            ("If-Unmodified-Since: MODIFIED\r\n", 200),
            ("If-Unmodified-Since: AFTER\r\n", 200),
            ("If-Unmodified-Since: tomorrow\r\n", 200),
            // If there is a tag condition, a date condition is ignored.
            ("If-None-Match: \"x\"\r\nIf-Modified-Since: AFTER\r\n", 200),
            ("If-None-Match: E\r\nIf-Modified-Since: BEFORE\r\n", 304),
            ("If-Match: E\r\nIf-Unmodified-Since: BEFORE\r\n", 200),
            ("If-Match: \"x\"\r\nIf-Unmodified-Since: AFTER\r\n", 412),
            // First whether the file is the right version, then whether the client has it already.
            ("If-Match: \"x\"\r\nIf-None-Match: E\r\n", 412),
            ("If-Match: E\r\nIf-None-Match: E\r\n", 304),
            ("If-Unmodified-Since: BEFORE\r\nIf-None-Match: E\r\n", 412),
            // Conditions are evaluated before ranges.
            ("If-None-Match: E\r\nRange: bytes=0-0\r\n", 304),
            ("If-Match: \"x\"\r\nRange: bytes=0-0\r\n", 412),
            ("If-Match: E\r\nRange: bytes=0-0\r\n", 206),
            ("If-Match: \"x\"\r\nRange: bytes=999999-\r\n", 412),
        ] {
            let fields = written(fields, &etag);
            let get = Client::get(&server, "/file", &fields);
            assert_eq!(get.status, status, "{fields}");
            match status {
                200 => drop(get.has_body(&content)),
                206 => drop(get.has_body(&content[..1])),
                304 => drop(get.has("etag", &etag)),
                _ => drop(get.expect_error(412)),
            }
            // HEAD is like GET in everything except ranges.
            let head = Client::ask(&server, "HEAD", "/file", &fields);
            assert_eq!(
                head.status,
                if status == 206 { 200 } else { status },
                "{fields}"
            );
        }
    }
}

fn written(fields: &str, etag: &str) -> String {
    fields
        .replace('E', etag)
        // Replaces only the single E that stands for the tag; the names below stay whole.
        .replace(&format!("B{etag}FOR{etag}"), BEFORE)
        .replace(&format!("MODIFI{etag}D"), MODIFIED)
        .replace(&format!("AFT{etag}R"), AFTER)
}

#[test]
fn not_modified_has_the_fields_that_caches_update() {
    let tree = tree(b"content");
    let server = server(&tree);
    let whole = Client::get(&server, "/file", "").has_body(b"content");
    let fields = format!("If-None-Match: {}\r\n", whole.etag());
    for method in ["GET", "HEAD"] {
        Client::ask(&server, method, "/file", &fields)
            .has_status(304)
            .has("etag", whole.etag())
            .has("vary", "accept-encoding")
            .has("cache-control", "max-age=9")
            .has("last-modified", MODIFIED)
            .lacks("content-type")
            .lacks("content-encoding")
            .lacks("content-range");
    }
}

#[test]
fn what_is_not_there_has_no_preconditions() {
    let tree = Tree::new();
    let server = Server::new(tree.serve());
    for fields in [
        "If-Match: *\r\n",
        "If-None-Match: *\r\n",
        "Range: bytes=0-\r\n",
    ] {
        Client::get(&server, "/missing", fields).expect_error(404);
    }
}

#[test]
fn if_range_lets_a_range_count_only_for_the_same_file() {
    for content in [bytes(2, 600), bytes(2, 60_000)] {
        let tree = tree(&content);
        let server = server(&tree);
        let etag = Client::get(&server, "/file", "").etag().to_owned();
        for (condition, same) in [
            (&*etag, true),
            (MODIFIED, true),
            (&*format!("W/{etag}"), false),
            ("\"x\"", false),
            (BEFORE, false),
            (AFTER, false),
            ("nonsense", false),
        ] {
            let fields = format!("Range: bytes=10-19\r\nIf-Range: {condition}\r\n");
            let reply = Client::get(&server, "/file", &fields);
            if same {
                reply.has_status(206).has_body(&content[10..20]);
            } else {
                reply
                    .has_status(200)
                    .lacks("content-range")
                    .has_body(&content);
            }
        }
        // Without Range, If-Range means nothing.
        Client::get(&server, "/file", "If-Range: \"x\"\r\n").has_status(200);
        // A range beyond the end of another version is not an error either.
        let beyond = "Range: bytes=9999999-\r\nIf-Range: \"x\"\r\n";
        Client::get(&server, "/file", beyond)
            .has_status(200)
            .has_body(&content);
    }
}

#[test]
fn curl_asks_only_for_what_changed() {
    if !needs::tool("curl") {
        return;
    }
    let tree = tree(b"content");
    let server = server(&tree);
    let directory = tempfile::tempdir().unwrap();
    let tag = directory.path().join("tag");
    let tag = tag.to_str().unwrap();
    curl::run(&server, "/file", &["--etag-save", tag])
        .reply()
        .has_body(b"content");
    let again = ["--etag-compare", tag];
    curl::run(&server, "/file", &again)
        .reply()
        .has_status(304)
        .has_body(b"");
    curl::run(&server, "/file", &["-z", MODIFIED])
        .reply()
        .has_status(304)
        .has_body(b"");
    curl::run(&server, "/file", &["-z", BEFORE])
        .reply()
        .has_status(200)
        .has_body(b"content");
    tree.file("file", b"changed");
    curl::run(&server, "/file", &again)
        .reply()
        .has_status(200)
        .has_body(b"changed");
}

/// Copies of one tree on two machines have the same tags, so a client of both can use its cached
/// copies.
#[test]
fn replicas_agree() {
    let content = bytes(3, 20_000);
    let (one, other) = (Tree::of(&[("file", &content)]), Tree::new());
    other.file("before", b"so that the inodes differ");
    other.file("file", &content);
    let at = SystemTime::UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_789);
    for tree in [&one, &other] {
        set_modified(&tree.path("file"), at);
    }
    let (one, other) = (Server::new(one.serve()), Server::new(other.serve()));
    let known = Client::get(&one, "/file", "");
    let fields = format!("If-None-Match: {}\r\n", known.etag());
    Client::get(&other, "/file", &fields).has_status(304);
    let fields = format!("If-Range: {}\r\nRange: bytes=7-8\r\n", known.etag());
    Client::get(&other, "/file", &fields)
        .has_status(206)
        .has_body(&content[7..9]);
}

/// OSTree gives all files the time 0, Nix 1. Such a time says neither when a file was made nor
/// which version it is.
#[test]
fn a_time_that_says_nothing_is_not_sent() {
    for (seconds, is_sent) in [(0, false), (1, false), (2, true)] {
        let tree = Tree::new();
        let server = Server::new(tree.serve());
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let mut tags = Vec::new();
        for content in [b"old", b"new"] {
            let spare = tree.file("spare", content);
            set_modified(&spare, at);
            std::fs::rename(spare, tree.path("file")).unwrap();
            let reply = Client::get(&server, "/file", "").has_body(content);
            assert_eq!(reply.field("last-modified").is_some(), is_sent, "{seconds}");
            let known = format!("If-None-Match: {}\r\n", reply.etag());
            Client::get(&server, "/file", &known).has_status(304);
            let since = format!("If-Modified-Since: {AFTER}\r\n");
            let status = Client::get(&server, "/file", &since).status;
            assert_eq!(status, if is_sent { 304 } else { 200 });
            tags.push(reply.etag().to_owned());
        }
        tags.dedup();
        assert_eq!(tags.len(), if is_sent { 1 } else { 2 }, "{seconds}");
    }
}
