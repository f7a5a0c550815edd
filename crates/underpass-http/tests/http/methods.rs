//! GET, HEAD, OPTIONS and the rest: status, fields, bodies, and the route that the bytes took.

use std::time::{Duration, SystemTime};

use http::HeaderValue;
use underpass_http::ServeFile;

use crate::support::{
    Client, IN_MEMORY, MORE_THAN_BUFFERS, Server, Settings, Transport, Tree, between_uploads,
    bytes, curl, needs, request, set_modified,
};

#[test]
fn a_file_comes_with_its_fields() {
    let content = bytes(1, 100_000);
    let tree = Tree::of(&[("page.html", &content)]);
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    set_modified(&tree.path("page.html"), at);
    let cache_control = HeaderValue::from_static("max-age=60");
    let server = Server::new(tree.serve().cache_control(cache_control));
    let reply = Client::get(&server, "/page.html?query", "")
        .has_status(200)
        .has_body(&content)
        .has("content-length", "100000")
        .has("content-type", "text/html")
        .has("accept-ranges", "bytes")
        .has("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")
        .has("cache-control", "max-age=60")
        .lacks("vary")
        .lacks("content-encoding");
    let etag = reply.etag();
    assert!(
        etag.starts_with('"') && etag.ends_with('"'),
        "strong: {etag}"
    );
    let date = reply.field("date").expect("a Date");
    assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
}

/// Up to 8 KiB a file is written with its head; a larger one is sent by sendfile.
#[test]
fn large_files_leave_by_sendfile_and_small_ones_do_not() {
    for (length, by_sendfile) in [
        (0, 0),
        (1, 0),
        (IN_MEMORY, 0),
        (IN_MEMORY + 1, IN_MEMORY + 1),
        (3_000_001, 3_000_001),
    ] {
        let content = bytes(2, length);
        let tree = Tree::of(&[("file", &content)]);
        let server = Server::new(tree.serve());
        let length = length.to_string();
        Client::get(&server, "/file", "")
            .has_status(200)
            .has("content-length", &length)
            .has("content-type", "application/octet-stream")
            .has_body(&content);
        let stats = server.stop_uncopied(by_sendfile as u64);
        assert_eq!(stats.bytes_read.get(), 0);
        assert_eq!(
            stats.fallbacks_refused.get() + stats.fallbacks_unmapped.get(),
            0
        );
        if crate::TRANSPORT == Transport::Http1 {
            let heads = stats.bytes_written.get() - (content.len() - by_sendfile) as u64;
            assert!((100..600).contains(&heads), "{heads} bytes of head");
        }
    }
}

#[test]
fn head_is_get_without_the_body() {
    let tree = Tree::of(&[
        ("empty", b""),
        ("small", &bytes(3, 500)),
        ("large.css", &bytes(3, 200_000)),
        ("dir/file", b"x"),
    ]);
    let server = Server::new(tree.serve().listing(true));
    for (path, status) in [
        ("/empty", 200),
        ("/small", 200),
        ("/large.css", 200),
        ("/dir/", 200),
        ("/dir/?format=json", 200),
        ("/dir", 301),
        ("/missing", 404),
        ("/%", 400),
    ] {
        let get = Client::get(&server, path, "").has_status(status);
        let head = Client::ask(&server, "HEAD", path, "").has_status(status);
        assert_eq!(head.undated(), get.undated(), "{path}");
        let length = get.body.len().to_string();
        assert_eq!(get.field("content-length"), Some(&*length), "{path}");
    }
    // Of the one GET.
    server.stop_uncopied(200_000);
}

#[test]
fn curl_sees_the_same() {
    if !needs::tool("curl") {
        return;
    }
    let content = bytes(4, 300_000);
    let tree = Tree::of(&[("file", &content)]);
    let server = Server::new(tree.serve());
    let ours = Client::get(&server, "/file", "");
    let theirs = curl::run(&server, "/file", &[]).reply();
    assert_eq!(theirs.has_body(&content).etag(), ours.etag());
    let head = curl::run(&server, "/file", &["-I", "-o", "/dev/null"]).reply();
    head.has_status(200).has("content-length", "300000");
}

#[test]
fn options_tell_what_is_allowed() {
    let tree = Tree::of(&[("file", b"x")]);
    let server = Server::new(tree.serve());
    for path in ["/file", "/missing", "/", "*"] {
        Client::ask(&server, "OPTIONS", path, "")
            .has_status(204)
            .has("allow", "GET, HEAD, OPTIONS")
            .has_body(b"");
    }
    let server = Server::new(tree.serve().uploads(underpass_http::Uploads::default()));
    Client::ask(&server, "OPTIONS", "/file", "").has("allow", "GET, HEAD, OPTIONS, PUT");
}

#[test]
fn other_methods_are_not_allowed() {
    let tree = Tree::of(&[("file", b"content")]);
    let server = Server::new(tree.serve());
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND", "get"] {
        Client::ask(&server, method, "/file", "")
            .expect_error(405)
            .has("allow", "GET, HEAD, OPTIONS");
    }
    assert_eq!(tree.names(), ["file"]);
}

/// A body that nobody read does not become the next request.
#[test]
fn a_refused_body_is_read_over() {
    let tree = Tree::of(&[("file", b"content")]);
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let body = request("GET", "/file", "");
    let fields = format!("Content-Length: {}\r\n", body.len());
    client.send((request("POST", "/file", &fields) + &body).as_bytes());
    client.reply("POST").expect_error(405);
    client.send(request("GET", "/file", "Connection: close\r\n").as_bytes());
    client.reply("GET").has_status(200).has_body(b"content");
    client.is_ended();
}

#[test]
fn one_file_is_served_for_any_path() {
    let content = bytes(5, 40_000);
    let tree = Tree::of(&[(".hidden name.svg", &content)]);
    let settings = Settings::default();
    let service = ServeFile::new(tree.path(".hidden name.svg"))
        .cache_control(HeaderValue::from_static("no-cache"))
        .stats(settings.stats.clone());
    let server = Server::of(service, settings);
    for path in ["/", "/anything/at/all", "/%2e%2e?q"] {
        Client::get(&server, path, "")
            .has_status(200)
            .has("content-type", "image/svg+xml")
            .has("cache-control", "no-cache")
            .has_body(&content);
    }
    Client::get(&server, "/", "Range: bytes=-1\r\n").has_body(&content[39_999..]);
    server.stop_uncopied(3 * 40_000 + 1);
}

#[test]
fn names_tell_the_type() {
    let tree = Tree::new();
    let server = Server::new(tree.serve());
    for (name, expected) in [
        ("a.HTML", "text/html"),
        ("a.txt", "text/plain; charset=utf-8"),
        ("a.js", "text/javascript; charset=utf-8"),
        ("a.json", "application/json; charset=utf-8"),
        ("a.xml", "text/xml"),
        ("a.png", "image/png"),
        ("a.woff2", "font/woff2"),
        ("a.mp4", "video/mp4"),
        ("a.tar.gz", "application/gzip"),
        ("noextension", "application/octet-stream"),
    ] {
        tree.file(name, b"x");
        Client::get(&server, &format!("/{name}"), "").has("content-type", expected);
    }
}

/// The same in files that are read into memory, in larger ones, and in their siblings.
#[test]
fn contents_tell_the_type_of_ts() {
    let stream = |packets| [&[0x47][..], &[0; 187]].concat().repeat(packets);
    let text = |lines| "export const G = 'G';\n".repeat(lines).into_bytes();
    let tree = Tree::of(&[
        ("short.ts", &stream(10)),
        ("long.ts", &stream(1000)),
        ("short.script.ts", &text(1)),
        ("long.script.ts", &text(1000)),
        ("short.ts.gz", b"packed"),
        ("short.script.ts.gz", b"packed"),
    ]);
    let server = Server::new(tree.serve().precompressed_gzip());
    for fields in ["", "Accept-Encoding: gzip\r\n"] {
        for name in ["short", "long"] {
            Client::get(&server, &format!("/{name}.ts"), fields)
                .has_status(200)
                .has("content-type", "video/mp2t");
            Client::get(&server, &format!("/{name}.script.ts"), fields)
                .has_status(200)
                .has("content-type", "text/typescript; charset=utf-8");
        }
    }
}

#[test]
fn types_can_be_chosen() {
    let tree = Tree::of(&[("a.ts", b"x"), ("b.Log", b"x"), ("c.txt", b"x")]);
    let latin = HeaderValue::from_static("text/plain; charset=latin1");
    let server = Server::new(
        tree.serve()
            .media_type("ts", HeaderValue::from_static("video/mp2t"))
            .media_type("log", latin),
    );
    for (path, expected) in [
        ("/a.ts", "video/mp2t"),
        ("/b.Log", "text/plain; charset=latin1"),
        ("/c.txt", "text/plain; charset=utf-8"),
    ] {
        Client::get(&server, path, "").has("content-type", expected);
    }
}

/// A compressed SVG is an SVG only for a client that is told that it is compressed.
#[test]
fn svgz_is_svg_in_gzip() {
    let tree = Tree::of(&[("a.svgz", b"packed"), ("a.svgz.br", b"packed again")]);
    let server = Server::new(tree.serve().precompressed_br());
    Client::get(&server, "/a.svgz", "")
        .has("content-type", "image/svg+xml")
        .has("content-encoding", "gzip")
        .has_body(b"packed");
    let again =
        Client::get(&server, "/a.svgz", "Accept-Encoding: br\r\n").has_body(b"packed again");
    let fields = again.fields.iter();
    let codings = fields.filter(|(name, _)| name == "content-encoding");
    let codings: Vec<_> = codings.map(|(_, value)| value.as_str()).collect();
    assert_eq!(codings, ["gzip", "br"]);
}

#[test]
fn an_open_file_is_kept_until_it_changes() {
    let tree = Tree::new();
    between_uploads(|| {
        tree.file("file", b"old");
        let forever = underpass_http::Cache::default()
            .entries(8)
            .valid_for(Duration::from_secs(3600));
        let server = Server::new(tree.serve_fresh().cache(forever));
        let old = Client::get(&server, "/file", "").has_body(b"old");
        Client::get(&server, "/file", "")
            .has("etag", old.etag())
            .has_body(b"old");
        tree.file("file", b"newer");
        let new = Client::get(&server, "/file", "").has_body(b"newer");
        assert_ne!(new.etag(), old.etag());
        let stats = server.stop();
        let counted = (stats.cache_misses.get(), stats.cache_hits.get());
        (counted, stats.cache_revalidations.get()) == ((1, 1), 1)
    });

    let server = Server::new(tree.serve_fresh());
    Client::get(&server, "/file", "").has_body(b"newer");
    tree.file("file", &bytes(6, 50_000));
    Client::get(&server, "/file", "").has_body(&bytes(6, 50_000));
    std::fs::remove_file(tree.path("file")).unwrap();
    Client::get(&server, "/file", "").expect_error(404);
    let stats = server.stop();
    assert_eq!(
        (stats.cache_misses.get(), stats.cache_revalidations.get()),
        (1, 1)
    );
}

/// The length was promised, so only the end of the connection can tell the client.
#[test]
fn a_file_that_shrinks_ends_its_connection() {
    let content = bytes(7, MORE_THAN_BUFFERS);
    let tree = Tree::of(&[("file", &content)]);
    let server = Server::new(tree.serve_fresh());
    let mut client = Client::new(&server);
    client.send(request("GET", "/file", "").repeat(2).as_bytes());
    client.head().has_status(200);
    let file = std::fs::File::options()
        .write(true)
        .open(tree.path("file"))
        .unwrap();
    file.set_len(1000).unwrap();
    let came = client.rest();
    assert!(came.len() < content.len() && came[..1000] == content[..1000]);
    Client::get(&server, "/file", "")
        .has_status(200)
        .has_body(&content[..1000]);
    assert!(server.stop().truncated.get() > 0);
}
