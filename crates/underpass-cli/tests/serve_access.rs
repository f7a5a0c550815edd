//! `serve`: who may ask, from which pages, and who may write.

use crate::support::{Dir, Server, bytes, curl, needs};

#[test]
fn passwords_are_asked_for() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, etc) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let users = etc.file("users", b"# people\n\nann:secret\nbob:a:b\n");
    let server = Server::start(&dir, &["--auth-file", &users, "--auth", "eve:apple"]);
    let url = format!("{}a", server.url);
    for known in ["ann:secret", "bob:a:b", "eve:apple"] {
        assert_eq!(curl(&["--user", known, &url]).text(), "content", "{known}");
    }
    for unknown in ["ann:apple", "ann:", "mallory:secret", "ann:secret "] {
        assert_eq!(curl(&["--user", unknown, &url]).status, 401, "{unknown}");
    }
    let reply = curl(&[&url]);
    assert_eq!(reply.status, 401);
    let challenge = "basic realm=\"underpass\", charset=\"utf-8\"";
    assert_eq!(reply.field("www-authenticate"), Some(challenge));
    assert!(!reply.text().contains("content"));
    server.stop().ok();
}

#[test]
fn pages_of_other_origins_are_let_in_where_it_is_allowed() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    // A browser asks first without credentials.
    let server = Server::start(
        &dir,
        &["--cors", "https://a.example", "--auth", "ann:secret"],
    );
    let url = format!("{}a", server.url);
    let preflight = [
        "--request",
        "OPTIONS",
        "--header",
        "Access-Control-Request-Method: GET",
        "--header",
        "Access-Control-Request-Headers: range, cache-control, x-requested-with, authorization",
        &url,
    ];
    let allowed = curl(&[&["--header", "Origin: https://a.example"], &preflight[..]].concat());
    assert_eq!(allowed.status, 200);
    let origin = allowed.field("access-control-allow-origin");
    assert_eq!(origin, Some("https://a.example"));
    for (field, word) in [
        ("access-control-allow-headers", "range"),
        ("access-control-allow-headers", "cache-control"),
        ("access-control-allow-headers", "x-requested-with"),
        ("access-control-allow-headers", "authorization"),
        ("access-control-max-age", "7200"),
        ("access-control-allow-methods", "get"),
    ] {
        assert!(allowed.field(field).unwrap().contains(word), "{allowed:?}");
    }
    let put = allowed.field("access-control-allow-methods").unwrap();
    assert!(!put.contains("put"), "{put}");
    let other = curl(&[&["--header", "Origin: https://b.example"], &preflight[..]].concat());
    assert_eq!(other.field("access-control-allow-origin"), None);
    let reply = curl(&[
        "--user",
        "ann:secret",
        "--header",
        "Origin: https://a.example",
        &url,
    ]);
    assert_eq!(reply.text(), "content");
    let exposed = reply.field("access-control-expose-headers").unwrap();
    for field in ["etag", "content-range", "accept-ranges", "content-length"] {
        assert!(exposed.contains(field), "{exposed}");
    }
    server.stop().ok();
}

#[test]
fn everybody_is_let_in_with_a_star() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let server = Server::start(&dir, &["--cors", "*", "--insecure-upload"]);
    let url = format!("{}a", server.url);
    let reply = curl(&["--header", "Origin: https://b.example", &url]);
    assert_eq!(reply.field("access-control-allow-origin"), Some("*"));
    let preflight = [
        "--request",
        "OPTIONS",
        "--header",
        "Origin: https://b.example",
        "--header",
        "Access-Control-Request-Method: PUT",
        &url,
    ];
    let methods = curl(&preflight);
    let methods = methods.field("access-control-allow-methods").unwrap();
    assert!(methods.contains("put"), "{methods}");
    server.stop().ok();
}

#[test]
fn files_are_taken_from_those_who_may() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, home) = (Dir::in_memory(), Dir::in_memory());
    let (small, large) = (bytes(310, 4096), bytes(311, 4097));
    let (small, large) = (home.file("small", &small), home.file("large", &large));
    let options = ["--upload", "--auth", "ann:secret", "--upload-limit", "4K"];
    let server = Server::start(&dir, &options);
    assert!(server.line.contains("uploads on"), "{}", server.line);
    let put = |user: &str, file: &str| {
        let url = format!("{}in", server.url);
        curl(&["--user", user, "--upload-file", file, &url]).status
    };
    assert_eq!(put("mallory:secret", &small), 401);
    assert_eq!(put("ann:secret", &large), 413);
    assert_eq!(dir.names(), [""; 0]);
    assert_eq!(put("ann:secret", &small), 201);
    crate::support::assert_same(&small, &dir.path("in"));
    server.stop().ok();
}

#[test]
fn nothing_is_taken_unasked() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, home) = (Dir::in_memory(), Dir::in_memory());
    let file = home.file("in", b"content");
    let server = Server::start(&dir, &[]);
    let url = format!("{}in", server.url);
    assert_eq!(curl(&["--upload-file", &file, &url]).status, 405);
    assert_eq!(dir.names(), [""; 0]);
    server.stop().ok();
}
