//! What happens if nothing is found: error pages, single-page applications, other services.

use http::HeaderValue;

use crate::support::{Client, Server, Settings, Tree, bytes};
use underpass_http::{ServeDir, ServeFile};

#[test]
fn a_page_comes_with_404() {
    for page in [bytes(1, 300), bytes(1, 30_000)] {
        let tree = Tree::of(&[("404 page.html", &page), ("file", b"x")]);
        let server = Server::new(tree.serve_fresh().not_found_page("404 page.html"));
        // The page is not a representation of the requested path: it has no tag and no ranges.
        for fields in [
            "",
            "Range: bytes=0-0\r\n",
            "If-None-Match: *\r\n",
            "If-Match: \"x\"\r\n",
        ] {
            Client::get(&server, "/missing", fields)
                .has_status(404)
                .has("content-type", "text/html")
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
fn the_page_of_an_application_is_known_however_it_is_written() {
    let tree = Tree::of(&[("index.html", b"app"), ("other.html", b"other")]);
    for page in [
        "index.html",
        "/index.html",
        "./index.html",
        "a/..//index.html",
    ] {
        let hour = HeaderValue::from_static("max-age=3600");
        let server = Server::new(tree.serve().cache_control(hour).spa(page));
        // The second time, it comes from memory.
        for path in ["/", "/", "/index.html", "/users/7"] {
            Client::get(&server, path, BROWSER)
                .has("cache-control", "no-cache")
                .has_body(b"app");
        }
        Client::get(&server, "/other.html", BROWSER).has("cache-control", "max-age=3600");
    }
}

#[test]
fn an_application_answers_for_every_path() {
    let app = bytes(2, 20_000);
    let tree = Tree::of(&[("app/index.html", &app), ("style.css", b"css")]);
    let hour = HeaderValue::from_static("max-age=3600");
    let server = Server::new(tree.serve().spa("app/index.html").cache_control(hour));
    for path in [
        "/",
        "/users/7",
        "/style.css/x",
        "/app/nothing.html?x",
        "/users/jane.doe",
        "/v1.2",
        "/caf%E9",
    ] {
        Client::get(&server, path, BROWSER)
            .has_status(200)
            .has("content-type", "text/html")
            .has("cache-control", "no-cache")
            .has("vary", "accept")
            .has_body(&app);
        Client::ask(&server, "HEAD", path, BROWSER).has_status(200);
    }
    let etag = Client::get(&server, "/users/7", BROWSER).etag().to_owned();
    Client::get(
        &server,
        "/users/8",
        &format!("{BROWSER}If-None-Match: {etag}\r\n"),
    )
    .has_status(304)
    .has("cache-control", "no-cache");
    Client::get(
        &server,
        "/users/7",
        &format!("{BROWSER}Range: bytes=-1\r\n"),
    )
    .has_status(206);
    Client::get(&server, "/style.css", "")
        .has("cache-control", "max-age=3600")
        .has_body(b"css");
    Client::ask(&server, "POST", "/users/7", BROWSER).expect_error(405);

    // By its own paths, the page is the same.
    for path in ["/app/index.html", "/app/"] {
        Client::get(&server, path, BROWSER)
            .has("cache-control", "no-cache")
            .lacks("vary")
            .has_body(&app);
    }

    // Assets are found or they are not.
    for path in [
        "/assets/gone-1a2b.js",
        "/gone.css",
        "/gone.PNG",
        "/style.css/",
        "/a.js.map",
    ] {
        Client::get(&server, path, BROWSER)
            .expect_error(404)
            .lacks("cache-control");
    }
    for fields in [
        "",
        "Accept: */*\r\n",
        "Accept: application/json\r\n",
        "Accept: image/*, */*;q=0.8\r\n",
        "Accept: text/html;q=0, */*\r\n",
    ] {
        Client::get(&server, "/api/users/7", fields)
            .expect_error(404)
            .has("vary", "accept")
            .lacks("cache-control");
    }
}

/// The fields that Firefox sends when it navigates to a page.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n";

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
    server.stop_uncopied(30_010);
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
