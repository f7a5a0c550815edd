//! `serve s3://… --upload`: what is uploaded becomes objects of the store, whole or not at all.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use underpass_testing::s3::{Fault, On, S3};

use crate::buckets::Served;
use crate::support::{Dir, MIB, Reply, assert_bytes, bytes, curl};

/// As long as a test that fails waits.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(s3: S3, options: &[&str]) -> Option<Served> {
    Served::start(s3, &[&["--insecure-upload"], options].concat())
}

/// Uploads a file, with further arguments for curl.
fn put(served: &Served, path: &str, content: &[u8], args: &[&str]) -> Reply {
    let dir = Dir::in_memory();
    let file = dir.file("file", content);
    let url = served.url(path);
    curl(&[&["--upload-file", &file, &url], args].concat())
}

fn content(served: &Served, key: &str) -> Vec<u8> {
    let stored = served.s3.object(key);
    stored.expect("it was not stored").content.to_vec()
}

/// No object of this name, and no part of it.
fn assert_nothing(served: &Served, key: &str) {
    assert!(served.s3.object(key).is_none());
    let begun = Instant::now();
    // Parts are removed after the response.
    while served.s3.open_uploads() > 0 {
        assert!(begun.elapsed() < PATIENCE, "parts are left");
        std::thread::yield_now();
    }
    assert!(served.s3.object(key).is_none());
}

#[test]
fn an_upload_is_an_object_and_the_next_request_gets_it() {
    let s3 = S3::start();
    let Some(served) = start(s3, &["--revalidate", "1h"]) else {
        return;
    };
    let (one, two) = (bytes(1, 3 * MIB), bytes(2, MIB));
    assert_eq!(served.get("new/file", &[]).status, 404);
    assert_eq!(served.get("new/", &[]).status, 404);
    for (content, status) in [(&one, 201), (&two, 204), (&one, 204)] {
        let reply = put(&served, "new/file", content, &[]);
        assert_eq!(reply.status, status);
        let stored = served.s3.object("site/new/file").unwrap();
        assert_eq!(reply.field("etag"), Some(stored.etag.as_str()));
        assert!(*stored.content == *content);
        let reply = served.get("new/file", &[]);
        assert_eq!(reply.field("etag"), Some(stored.etag.as_str()));
        assert_bytes(&reply.body, content);
    }
    assert!(served.get("new/", &[]).text().contains("file"));
    let reply = put(&served, "new", b"content", &[]);
    assert_eq!(reply.status, 409, "it is a directory");
    assert_eq!(put(&served, "empty", b"", &[]).status, 201);
    assert_eq!(content(&served, "site/empty"), b"");
    served.server.stop().ok();
}

#[test]
fn preconditions_are_those_of_the_store() {
    let s3 = S3::start();
    let Some(served) = start(s3, &["--revalidate", "1h"]) else {
        return;
    };
    let with = |field: &str| put(&served, "file", b"content", &["--header", field]).status;
    let current = || served.s3.object("site/file").unwrap().etag;
    assert_eq!(with("If-Match: *"), 412);
    assert_eq!(with("If-Match: \"other\""), 412);
    assert_eq!(with("If-None-Match: *"), 201);
    assert_eq!(with("If-None-Match: *"), 412);
    assert_eq!(with(&format!("If-None-Match: {}", current())), 412);
    assert_eq!(with(&format!("If-Match: {}", current())), 204);
    // Somebody else replaces it, after it was looked up here.
    assert_eq!(served.get("file", &[]).status, 200);
    let before = current();
    served.s3.put("site/file", "theirs");
    assert_eq!(with(&format!("If-Match: {before}")), 412);
    assert_eq!(content(&served, "site/file"), b"theirs");
    let asked = served.s3.requests();
    let puts: Vec<_> = asked.iter().filter(|it| it.method == "PUT").collect();
    assert_eq!(puts[0].field("if-none-match"), Some("*"));
    assert!(puts[1].field("if-match").is_some());
    assert_eq!(puts.len(), 2, "what is refused here is not sent");
    served.server.stop().ok();
}

/// A store that ignores conditions is not told from one that keeps them. What was made while the
/// upload was on its way is seen all the same.
#[test]
fn what_was_made_meanwhile_is_not_replaced_by_a_store_that_ignores_conditions() {
    let s3 = S3::start();
    s3.fault(On::put("site/file"), Fault::IgnoreConditions);
    let Some(served) = start(s3, &[]) else {
        return;
    };
    let address = served.server.url.trim_start_matches("http://");
    let mut client = TcpStream::connect(address.trim_end_matches('/')).unwrap();
    let head = "PUT /file HTTP/1.1\r\nHost: a\r\nIf-None-Match: *\r\nContent-Length: 4\r\n\
                Connection: close\r\n\r\nou";
    client.write_all(head.as_bytes()).unwrap();
    let begun = Instant::now();
    // It asks whether it is a directory when it knows that there is no such object.
    let lists = || {
        served
            .s3
            .requests()
            .iter()
            .filter(|it| it.query.contains("site%2Ffile"))
            .count()
    };
    while lists() == 0 {
        assert!(begun.elapsed() < PATIENCE, "the upload does not begin");
        std::thread::yield_now();
    }
    served.s3.put("site/file", "theirs");
    client.write_all(b"rs").unwrap();
    let mut response = String::new();
    client.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 412"), "{response}");
    assert_eq!(content(&served, "site/file"), b"theirs");
    served.server.stop().ok();
}

#[test]
fn a_large_upload_is_sent_in_parts() {
    let s3 = S3::start();
    let Some(served) = start(s3, &[]) else {
        return;
    };
    let large = bytes(3, 20 * MIB + 5);
    for (name, args) in [
        ("h1", &["--http1.1"][..]),
        ("h2", &["--http2-prior-knowledge"]),
        ("chunked", &["--header", "Transfer-Encoding: chunked"]),
    ] {
        let reply = put(&served, name, &large, args);
        assert_eq!(reply.status, 201, "{name}");
        let key = format!("site/{name}");
        assert!(content(&served, &key) == large, "{name}");
        assert_eq!(served.s3.count("PUT", &key), 3, "{name}");
        assert_bytes(&served.get(name, &[]).body, &large);
    }
    assert_eq!(served.s3.open_uploads(), 0);
    served.server.stop().ok();
}

#[test]
fn an_upload_that_is_cut_or_refused_leaves_nothing() {
    let s3 = S3::start();
    s3.fault(On::put("site/forbidden"), Fault::Status(403));
    let Some(mut served) = start(s3, &["--upload-limit", "30MiB"]) else {
        return;
    };
    let large = bytes(4, 40 * MIB);
    let reply = put(&served, "forbidden", b"content", &[]);
    assert_eq!(reply.status, 403);
    let line = served.server.running.line();
    assert!(
        line.contains(
            "s3://bucket/site/forbidden: the store says 403 Forbidden; these credentials"
        ),
        "{line}"
    );
    assert_nothing(&served, "site/forbidden");
    // Its length is known at once, or only when it is too much.
    let chunked = ["--header", "Transfer-Encoding: chunked"];
    for args in [&[][..], &chunked] {
        assert_eq!(put(&served, "large", &large, args).status, 413);
        assert_nothing(&served, "site/large");
    }
    let address = served.server.url.trim_start_matches("http://");
    let address = address.trim_end_matches('/');
    let mut client = TcpStream::connect(address).unwrap();
    let length = 25 * MIB;
    let head = format!("PUT /cut HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    client.write_all(head.as_bytes()).unwrap();
    client.write_all(&large[..20 * MIB]).unwrap();
    let begun = Instant::now();
    while served.s3.open_uploads() == 0 {
        assert!(begun.elapsed() < PATIENCE, "no part is sent");
        std::thread::yield_now();
    }
    drop(client);
    assert_nothing(&served, "site/cut");
    served.server.stop().ok();
}

#[test]
fn the_files_of_a_form_are_objects() {
    let s3 = S3::start();
    s3.put("site/in/a.txt", "old");
    let Some(served) = start(s3, &[]) else {
        return;
    };
    let dir = Dir::in_memory();
    let large = bytes(5, 9 * MIB);
    let small = format!("file=@{}", dir.file("a.txt", b"new"));
    let large_file = format!("file=@{}", dir.file("large", &large));
    let send = |fields: &[&str]| {
        let url = served.url("in/");
        let fields = fields.iter().flat_map(|field| ["--form", field]);
        curl(&fields.chain([url.as_str()]).collect::<Vec<_>>())
    };
    let reply = send(&[&small, &large_file]);
    assert_eq!(reply.text(), "a (2).txt: stored\nlarge: stored\n");
    assert_eq!(content(&served, "site/in/a.txt"), b"old");
    assert_eq!(content(&served, "site/in/a (2).txt"), b"new");
    assert!(content(&served, "site/in/large") == large);
    let reply = send(&["exists=skip", &small]);
    assert!(reply.text().contains("skipped"), "{}", reply.text());
    let reply = send(&["exists=replace", &small]);
    assert_eq!(reply.text(), "a.txt: replaced the old file\n");
    assert_eq!(served.get("in/a.txt", &[]).text(), "new");
    served.server.stop().ok();
}
