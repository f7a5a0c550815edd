//! Rules for paths: who has access, however a path is spelled, and the fields that are sent.

use std::convert::Infallible;
use std::process::{Command, Stdio};

use http::header::{REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response};
use tower::{Service as _, service_fn};
use underpass_http::{
    Access, Archives, Authenticated, FileBody, PathRule, PathRules, RequestBody, ServeDir, Uploads,
};

use crate::support::{Client, Server, Settings, Tree, bytes, needs};

/// Larger than what is kept in memory.
const LARGE: usize = 100_000;

fn deny(pattern: &str) -> PathRule {
    PathRule::new(pattern).access(Access::Deny)
}

fn rules(rules: impl IntoIterator<Item = PathRule>) -> PathRules {
    PathRules::new(rules).unwrap()
}

fn tree() -> Tree {
    Tree::of(&[
        ("open/a.txt", b"open"),
        ("open/large", &bytes(1, LARGE)),
        ("secret/a.txt", b"secret"),
        ("secret/sub/large", &bytes(2, LARGE)),
        ("secret/index.html", b"secret"),
        ("x.key", b"secret"),
        ("x.key.gz", b"secret"),
        ("open/y.KEY", b"secret"),
    ])
}

fn served(tree: &Tree, rules: PathRules) -> ServeDir {
    tree.serve()
        .listing(true)
        .archives(Archives::default())
        .precompressed_gzip()
        .path_rules(rules)
}

#[test]
fn what_is_denied_is_not_there_however_it_is_spelled() {
    let tree = tree();
    let files = served(&tree, rules([deny("/secret"), deny("*.key")]));
    let server = Server::new(files.uploads(Uploads::default()));
    // Twice: what is found may be cached, what is denied is not.
    for _ in 0..2 {
        for path in [
            "/secret",
            "/secret/",
            "/secret/a.txt",
            "/secret/sub/large",
            "/secret/index.html",
            "//secret/a.txt",
            "/secret//a.txt",
            "/./secret/./a.txt",
            "/secret/sub/../a.txt",
            "/open/../secret/a.txt",
            "/open/%2e%2e/secret/a.txt",
            "/%2e/secret/a.txt",
            "/%73%65cret/a.txt",
            "/secret/%61.txt",
            "/secret/a.txt/",
            "/secret/a.txt?b",
            "/SECRET/a.txt",
            "/Secret/",
            "/../secret/a.txt",
            "/secret/.",
            "/secret/sub/..",
            "/x.key",
            "/x%2Ekey",
            "/x.KEY",
            "/open/y.KEY",
            "/x.key.gz",
            "/secret/?archive=tar",
            "/secret/?json",
            "/secret/none",
        ] {
            Client::get(&server, path, "").expect_error(404);
            Client::get(&server, path, "range: bytes=0-1\r\n").expect_error(404);
            Client::get(&server, path, "accept-encoding: gzip\r\n").expect_error(404);
        }
        Client::get(&server, "/secret%2fa.txt", "").expect_error(400);
        Client::get(&server, "/open/a.txt", "")
            .has_status(200)
            .has_body(b"open");
        Client::get(&server, "/open/large", "").has_body(&bytes(1, LARGE));
    }
    for path in [
        "/secret/new",
        "/new.key",
        "/secret/a.txt",
        "/%73ecret/new",
        "/SECRET/new",
    ] {
        Client::put(&server, path, "", b"new").expect_error(403);
    }
    Client::put(&server, "/open/new", "", b"new").has_status(201);
}

#[test]
fn listings_have_no_denied_names() {
    let tree = tree();
    let server = Server::new(served(&tree, rules([deny("/secret"), deny("*.key")])));
    for query in ["", "?json"] {
        let root = Client::get(&server, &format!("/{query}"), "").has_status(200);
        let text = root.text();
        assert!(text.contains("open") && !text.contains("secret") && !text.contains("x.key"));
        let open = Client::get(&server, &format!("/open/{query}"), "").has_status(200);
        let text = open.text();
        assert!(text.contains("a.txt") && !text.contains("KEY"), "{text}");
    }
}

#[test]
fn archives_have_no_denied_files() {
    let tree = tree();
    let not_in_archives = PathRule::new("open/large").archive(false);
    let server = Server::new(served(
        &tree,
        rules([deny("/secret"), deny("*.key"), not_in_archives]),
    ));
    let tar = Client::get(&server, "/?archive=tar", "").has_status(200);
    let zip = Client::get(&server, "/?archive=zip", "").has_status(200);
    for archive in [&tar.body, &zip.body] {
        let has = |word: &[u8]| memchr_of(archive, word);
        assert!(has(b"open/a.txt") && !has(b"secret") && !has(b"key") && !has(b"KEY"));
        assert!(!has(b"large"));
    }
    if needs::tool("tar") {
        let mut tar_t = Command::new("tar");
        let mut child = tar_t
            .arg("t")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        std::io::Write::write_all(&mut stdin, &tar.body).unwrap();
        drop(stdin);
        let listed = child.wait_with_output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(listed, "files/\nfiles/open/\nfiles/open/a.txt\n");
    }
}

fn memchr_of(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|it| it == word)
}

#[test]
fn a_directory_may_have_no_archive_of_its_own() {
    let tree = tree();
    let server = Server::new(served(&tree, rules([PathRule::new("open").archive(false)])));
    Client::get(&server, "/open/?archive=tar", "").expect_error(404);
    let page = Client::get(&server, "/open/", "accept: text/html\r\n").has_status(200);
    assert!(!page.text().contains("archive=tar"));
    let root = Client::get(&server, "/?archive=tar", "").has_status(200);
    assert!(!memchr_of(&root.body, b"open") && memchr_of(&root.body, b"secret"));
}

/// What is sent for another path counts by its own name, too.
#[test]
fn an_index_and_a_sibling_can_be_denied() {
    let tree = tree();
    tree.file("page.html", b"page");
    tree.file("a.css", b"plain");
    tree.file("a.css.gz", b"zipped");
    let files = served(
        &tree,
        rules([deny("index.html"), deny("page.html"), deny("*.gz")]),
    );
    let server = Server::new(files.html_as_default_extension(true));
    let listed = Client::get(&server, "/secret/", "").has_status(200);
    assert!(listed.text().contains("a.txt") && !listed.text().contains("index.html"));
    Client::get(&server, "/page", "").expect_error(404);
    let gzip = "accept-encoding: gzip\r\n";
    Client::get(&server, "/a.css", gzip)
        .has_body(b"plain")
        .lacks("content-encoding");
    // A file that is denied has no other form.
    let server = Server::new(served(&tree, rules([deny("a.css")])));
    for path in ["/a.css", "/a.css.gz"] {
        Client::get(&server, path, gzip).expect_error(404);
    }
}

#[test]
fn fields_and_types_are_those_of_the_last_rules() {
    let value = HeaderValue::from_static;
    let tree = Tree::of(&[
        ("a.log", b"x"),
        ("b/c.log", &bytes(1, LARGE)),
        ("d.css", b""),
    ]);
    let server = Server::new(
        served(
            &tree,
            rules([
                PathRule::new("**").header(X_CONTENT_TYPE_OPTIONS, value("nosniff")),
                PathRule::new("*.log").media_type(value("text/x-log")),
                PathRule::new("b").cache_control(value("no-store")),
                PathRule::new("/b/c.log").header(REFERRER_POLICY, value("no-referrer")),
            ]),
        )
        .cache_control(value("max-age=5")),
    );
    for _ in 0..2 {
        let plain = Client::get(&server, "/a.log", "");
        let plain = plain
            .has("content-type", "text/x-log")
            .has("cache-control", "max-age=5");
        plain
            .has("x-content-type-options", "nosniff")
            .lacks("referrer-policy");
        for ask in ["", "range: bytes=1-5\r\n"] {
            Client::get(&server, "/b/c.log", ask)
                .has("content-type", "text/x-log")
                .has("cache-control", "no-store")
                .has("referrer-policy", "no-referrer")
                .has("x-content-type-options", "nosniff");
        }
        let sheet = Client::get(&server, "/d.css", "").has("content-type", "text/css");
        sheet.has("x-content-type-options", "nosniff");
        for path in ["/b/", "/b/?archive=tar"] {
            let listed = Client::get(&server, path, "").has_status(200);
            listed
                .has("x-content-type-options", "nosniff")
                .has("cache-control", "no-cache");
        }
    }
}

#[test]
fn new_rules_are_used_at_once_for_files_that_are_open() {
    let tree = tree();
    let changing = rules([]);
    let server = Server::new(served(&tree, changing.clone()));
    for path in ["/open/a.txt", "/open/large"] {
        let of = |path: &str| Client::get(&server, path, "");
        of(path).has_status(200).lacks("referrer-policy");
        of(path).has_status(200);
        changing.replace([deny("open")]).unwrap();
        of(path).expect_error(404);
        let header =
            PathRule::new("open").header(REFERRER_POLICY, HeaderValue::from_static("origin"));
        changing.replace([header]).unwrap();
        of(path).has_status(200).has("referrer-policy", "origin");
        changing.replace([]).unwrap();
        of(path).has_status(200).lacks("referrer-policy");
    }
}

/// A layer that knows a sender by a field.
fn guarded(files: ServeDir) -> Server {
    let app = service_fn(move |mut request: Request<RequestBody>| {
        if request.headers().contains_key("x-known") {
            request.extensions_mut().insert(Authenticated);
        }
        let response = files.clone().call(request);
        async move { Ok::<Response<FileBody>, Infallible>(response.await.unwrap()) }
    });
    Server::of(app, Settings::default())
}

#[test]
fn what_asks_for_authentication_is_for_those_who_have_it() {
    let tree = tree();
    let auth = |pattern| PathRule::new(pattern).access(Access::Authenticated);
    let files = served(&tree, rules([auth("/secret"), auth("*.key")]));
    let server = guarded(files.uploads(Uploads::default()));
    let known = "x-known: 1\r\n";
    for _ in 0..2 {
        for path in [
            "/secret",
            "/secret/",
            "/secret/a.txt",
            "/SECRET/",
            "/%73ecret/a.txt",
            "/x.key",
        ] {
            Client::get(&server, path, "").expect_error(if path == "/SECRET/" { 404 } else { 401 });
        }
        Client::get(&server, "/secret/a.txt", known)
            .has_status(200)
            .has_body(b"secret");
        Client::get(&server, "/secret/", known)
            .has_status(200)
            .has_body(b"secret");
        Client::get(&server, "/open/a.txt", "").has_status(200);
    }
    Client::put(&server, "/secret/new", "", b"x").expect_error(401);
    Client::put(&server, "/secret/new", known, b"x").has_status(201);
    // Its name is shown, so that people are asked for their password.
    assert!(Client::get(&server, "/?json", "").text().contains("secret"));
    let has = |ask, word| memchr_of(&Client::get(&server, "/?archive=tar", ask).body, word);
    assert!(has("", b"open/a.txt") && !has("", b"secret"));
    assert!(has(known, b"secret/sub/large"));
}
