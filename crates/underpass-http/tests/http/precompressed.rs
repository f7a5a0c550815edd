//! Precompressed siblings, by Accept-Encoding (RFC 9110 section 12.5.3).

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use underpass_http::{Cache, ServeDir};

use crate::support::{Client, Server, Tree, bytes, curl, needs};

const PLAIN: &[u8] = b"plain";

/// The server does not look into siblings, so each contains its own name. The gzip one is large.
fn tree() -> Tree {
    Tree::of(&[
        ("a.css", PLAIN),
        ("a.css.br", b"brotli"),
        ("a.css.zst", b"zstandard"),
        ("a.css.gz", &gzip()),
        ("lonely.css", PLAIN),
    ])
}

fn gzip() -> Vec<u8> {
    bytes(1, 50_000)
}

fn all(tree: &Tree) -> ServeDir {
    tree.serve_fresh()
        .precompressed_gzip()
        .precompressed_zstd()
        .precompressed_br()
}

#[test]
fn the_best_liked_sibling_is_sent() {
    let tree = tree();
    let server = Server::new(all(&tree));
    let bodies = [
        ("br", &b"brotli"[..]),
        ("zstd", b"zstandard"),
        ("gzip", &gzip()),
        ("", PLAIN),
    ];
    let mut of_gzip = 0;
    for (accepted, expected) in [
        (None, ""),
        (Some(""), ""),
        (Some("br"), "br"),
        (Some("gzip"), "gzip"),
        (Some("x-gzip"), "gzip"),
        (Some("zstd"), "zstd"),
        (Some("GZIP"), "gzip"),
        (Some("gzip, deflate, br, zstd"), "br"),
        (Some("gzip, zstd"), "zstd"),
        (Some("br;q=0.5, gzip;q=0.9"), "gzip"),
        (Some("br;q=0.5, gzip;q=0.9, zstd;q=1"), "zstd"),
        (Some("br;q=0, gzip"), "gzip"),
        (Some("br;q=0.000, *"), "zstd"),
        (Some("*"), "br"),
        (Some("*;q=0"), ""),
        (Some("identity"), ""),
        (Some("identity, gzip;q=0.5"), ""),
        (Some("identity;q=0.2, gzip;q=0.5"), "gzip"),
        (Some("deflate"), ""),
        (Some("nonsense;;;,=,gzip"), "gzip"),
    ] {
        let field = accepted.map_or_else(String::new, |it| format!("Accept-Encoding: {it}\r\n"));
        let reply = Client::get(&server, "/a.css", &field);
        let (_, body) = bodies.iter().find(|(name, _)| *name == expected).unwrap();
        of_gzip += u64::from(expected == "gzip") * 50_000;
        let encoding = (!expected.is_empty()).then_some(expected);
        assert_eq!(reply.field("content-encoding"), encoding, "{accepted:?}");
        reply
            .has_status(200)
            .has("vary", "accept-encoding")
            .has("content-type", "text/css")
            .has("content-length", &body.len().to_string())
            .has_body(body);
    }
    // Only the gzip sibling is large.
    server.stop_uncopied(of_gzip);
}

#[test]
fn only_what_is_asked_for_is_looked_for() {
    let tree = tree();
    let server = Server::new(tree.serve().precompressed_gzip());
    Client::get(&server, "/a.css", "Accept-Encoding: br, zstd\r\n")
        .has("vary", "accept-encoding")
        .lacks("content-encoding")
        .has_body(PLAIN);
    Client::get(&server, "/lonely.css", "Accept-Encoding: gzip\r\n")
        .lacks("vary")
        .lacks("content-encoding")
        .has_body(PLAIN);
    // A sibling is a file of its own too, and a directory is not a sibling.
    Client::get(&server, "/a.css.br", "")
        .lacks("content-encoding")
        .has_body(b"brotli");
    fs::create_dir(tree.path("lonely.css.gz")).unwrap();
    Client::get(&server, "/lonely.css", "Accept-Encoding: gzip\r\n").has_body(PLAIN);
}

/// Each sibling is a representation of its own, with its own tag and ranges.
#[test]
fn a_sibling_has_its_own_tag_and_ranges() {
    let tree = tree();
    let server = Server::new(all(&tree));
    let accept = |coding: &str| format!("Accept-Encoding: {coding}\r\n");
    let tags: Vec<String> = ["identity", "br", "zstd", "gzip"]
        .iter()
        .map(|coding| {
            Client::get(&server, "/a.css", &accept(coding))
                .etag()
                .to_owned()
        })
        .collect();
    for (at, tag) in tags.iter().enumerate() {
        assert!(!tags[..at].contains(tag), "{tags:?}");
    }
    let gzip_tag = format!("If-None-Match: {}\r\n", tags[3]);
    let has_gzip = accept("gzip") + &gzip_tag;
    Client::get(&server, "/a.css", &has_gzip)
        .has_status(304)
        .has("etag", &tags[3])
        .has("vary", "accept-encoding");
    let wants_br = accept("br") + &gzip_tag;
    Client::get(&server, "/a.css", &wants_br)
        .has_status(200)
        .has_body(b"brotli");

    let range = accept("gzip") + "Range: bytes=20000-39999\r\n";
    let resumed = format!("{range}If-Range: {}\r\n", tags[3]);
    for fields in [&range, &resumed] {
        Client::get(&server, "/a.css", fields)
            .has_status(206)
            .has("content-encoding", "gzip")
            .has("content-range", "bytes 20000-39999/50000")
            .has_body(&gzip()[20_000..40_000]);
    }
    let other = format!("{range}If-Range: {}\r\n", tags[0]);
    Client::get(&server, "/a.css", &other)
        .has_status(200)
        .has_body(&gzip());
}

#[test]
fn siblings_that_come_and_go_are_noticed() {
    let tree = tree();
    let server = Server::new(all(&tree));
    let get = || Client::get(&server, "/lonely.css", "Accept-Encoding: gzip\r\n");
    get().lacks("vary").has_body(PLAIN);
    tree.file("lonely.css.gz", b"company");
    get()
        .has("vary", "accept-encoding")
        .has("content-encoding", "gzip")
        .has_body(b"company");
    Client::get(&server, "/lonely.css", "")
        .has("vary", "accept-encoding")
        .has_body(PLAIN);
    tree.file("lonely.css.gz", b"other company");
    get().has_body(b"other company");
    fs::remove_file(tree.path("lonely.css.gz")).unwrap();
    get()
        .lacks("vary")
        .lacks("content-encoding")
        .has_body(PLAIN);
}

/// A cached lookup is trusted for a time, and not longer.
#[test]
fn a_sibling_is_noticed_when_the_cache_looks_again() {
    let tree = tree();
    let soon = Cache::default()
        .entries(8)
        .valid_for(Duration::from_millis(100));
    let server = Server::new(all(&tree).cache(soon));
    let get = || Client::get(&server, "/lonely.css", "Accept-Encoding: gzip\r\n");
    get().has_body(PLAIN);
    tree.file("lonely.css.gz", b"company");
    let changed = Instant::now();
    while get().field("content-encoding").is_none() {
        assert!(changed.elapsed() < Duration::from_secs(10), "never noticed");
    }
    fs::remove_file(tree.path("lonely.css.gz")).unwrap();
    let changed = Instant::now();
    while get().field("content-encoding").is_some() {
        assert!(changed.elapsed() < Duration::from_secs(10), "never noticed");
    }
    get().lacks("vary").has_body(PLAIN);
    assert!(server.stop().cache_revalidations.get() >= 2);
}

#[test]
fn curl_decodes_what_it_is_sent() {
    if !needs::tool("curl") {
        return;
    }
    let text = b"so compressible ".repeat(10_000);
    for (program, arguments, extension, feature, coding) in [
        ("gzip", &["-c"][..], "gz", "libz", "gzip"),
        ("brotli", &["-c"], "br", "brotli", "br"),
        ("zstd", &["-qc"], "zst", "zstd", "zstd"),
    ] {
        if !needs::tool(program) || !curl::knows(feature) {
            continue;
        }
        let tree = Tree::of(&[("a.txt", &text)]);
        let compressed = piped(program, arguments, &text);
        assert!(compressed.len() < text.len() / 10);
        tree.file(&format!("a.txt.{extension}"), &compressed);
        let server = Server::new(all(&tree));
        curl::run(&server, "/a.txt", &["--compressed"])
            .reply()
            .has("content-encoding", coding)
            .has("content-length", &compressed.len().to_string())
            .has_body(&text);
    }
}

fn piped(program: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The output is less than a pipe holds, so the program reads on.
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    output.stdout
}
