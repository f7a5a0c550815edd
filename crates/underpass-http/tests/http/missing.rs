//! What is not found: pages, single-page applications, other services.

use crate::support::{Client, Server, Settings, Tree, bytes};
use underpass_http::{ServeDir, ServeFile};

#[test]
fn a_page_comes_with_404() {
    for page in [bytes(1, 300), bytes(1, 30_000)] {
        let tree = Tree::of(&[("404 page.html", &page), ("file", b"x")]);
        let server = Server::new(tree.serve_fresh().not_found_page("404 page.html"));
        // The page is no representation of what was asked for: no tag, no ranges.
        for fields in [
            "",
            "Range: bytes=0-0\r\n",
            "If-None-Match: *\r\n",
            "If-Match: \"x\"\r\n",
        ] {
            Client::get(&server, "/missing", fields)
                .has_status(404)
                .has("content-type", "text/html; charset=utf-8")
                .lacks("etag")
                .lacks("last-modified")
                .lacks("accept-ranges")
                .has_body(&page);
        }
        let length = page.len().to_string();
        Client::ask(&server, "HEAD", "/missing", "")
            .has_status(404)
            .has("content-length", &length);
        Client::get(&server, "/file", "")
            .has_status(200)
            .has_body(b"x");
        Client::get(&server, "/%2f/x", "").expect_error(400);
        std::fs::remove_file(tree.path("404 page.html")).unwrap();
        Client::get(&server, "/missing", "").expect_error(404);
    }
}

#[test]
fn an_application_answers_for_every_path() {
    let app = bytes(2, 20_000);
    let tree = Tree::of(&[("app/index.html", &app), ("style.css", b"css")]);
    let server = Server::new(tree.serve().spa("app/index.html"));
    for path in ["/", "/users/7", "/style.css/", "/app/nothing.html?x"] {
        Client::get(&server, path, "")
            .has_status(200)
            .has("content-type", "text/html; charset=utf-8")
            .has_body(&app);
    }
    let etag = Client::get(&server, "/users/7", "").etag().to_owned();
    Client::get(&server, "/users/8", &format!("If-None-Match: {etag}\r\n")).has_status(304);
    Client::get(&server, "/users/7", "Range: bytes=-1\r\n").has_status(206);
    Client::get(&server, "/style.css", "").has_body(b"css");
    Client::ask(&server, "POST", "/users/7", "").expect_error(405);
}

#[test]
fn another_service_answers() {
    let tree = Tree::of(&[("file", b"first")]);
    let second = Tree::of(&[("file", b"not asked"), ("other", &bytes(3, 30_000))]);
    let settings = Settings::default();
    let fallback = ServeDir::new(second.root()).stats(settings.stats.clone());
    let server = Server::of(tree.serve().fallback(fallback), settings);
    Client::get(&server, "/file", "").has_body(b"first");
    Client::get(&server, "/other", "")
        .has_status(200)
        .has_body(&bytes(3, 30_000));
    Client::get(&server, "/other", "Range: bytes=0-9\r\n").has_status(206);
    Client::get(&server, "/neither", "").expect_error(404);
    assert_eq!(server.stop().bytes_sendfile.get(), 30_010);
}

#[test]
fn another_service_answers_with_404() {
    let tree = Tree::of(&[("file", b"found"), ("sorry.txt", b"sorry")]);
    let service = ServeFile::new(tree.path("sorry.txt"));
    let server = Server::of(tree.serve().not_found_service(service), Settings::default());
    Client::get(&server, "/file", "")
        .has_status(200)
        .has_body(b"found");
    Client::get(&server, "/missing", "")
        .has_status(404)
        .has_body(b"sorry");
    Client::ask(&server, "HEAD", "/missing", "")
        .has_status(404)
        .has("content-length", "5");
}

#[test]
fn a_root_that_is_not_there_is_an_error_and_no_404() {
    let tree = Tree::new();
    assert!(ServeDir::open(tree.path("nothing")).is_err());
    let server = Server::new(ServeDir::new(tree.path("nothing")));
    let status = Client::get(&server, "/file", "").status;
    assert!(matches!(status, 404 | 500), "{status}");
}
