//! Directories: index, redirect and listing.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::{Client, Server, Tree, curl, needs};

/// Names that some step on the way from a directory to a URL and back could get wrong.
const NASTY: &[&str] = &[
    "with space",
    "has#hash",
    "what?",
    "100%",
    "%41",
    "\"double\" 'single'",
    "a&amp;b",
    "<script>",
    "semi;colon=x",
    "java:script",
    "emoji 🦀",
    "línea\nnueva",
    "back\\slash",
    "plus+plus",
    "tab\there",
    "-dash",
    "~tilde",
    "e\u{301}",
];

/// If directories have neither an index nor a listing, nothing shows that they exist.
#[test]
fn a_directory_that_shows_nothing_is_as_if_it_were_not_there() {
    let tree = Tree::of(&[("sub/index.html", b"below")]);
    let server = Server::new(tree.serve().append_index_html_on_directories(false));
    let undated = |path| Client::get(&server, path, "").expect_error(404).undated();
    for path in ["/", "/sub", "/sub/"] {
        assert_eq!(undated(path), undated("/none"), "{path}");
    }
    Client::get(&server, "/sub/index.html", "").has_body(b"below");
}

#[test]
fn a_directory_is_its_index() {
    let tree = Tree::of(&[
        ("index.html", b"top"),
        ("sub/index.html", b"below"),
        ("bare/x", b"x"),
    ]);
    let server = Server::new(tree.serve());
    for (path, body) in [
        ("/", b"top".as_slice()),
        ("/sub/", b"below"),
        ("/sub/index.html", b"below"),
    ] {
        Client::get(&server, path, "")
            .has_status(200)
            .has("content-type", "text/html")
            .has_body(body);
    }
    Client::get(&server, "/bare/", "").expect_error(404);
    Client::get(&server, "/index.html/", "").expect_error(404);
    let server = Server::new(tree.serve().append_index_html_on_directories(false));
    Client::get(&server, "/", "").expect_error(404);
    Client::get(&server, "/index.html", "").has_body(b"top");
}

#[test]
fn a_directory_without_its_slash_is_redirected() {
    let tree = Tree::of(&[
        ("a b/ü#/index.html", b"found"),
        ("x:y/index.html", b"colon"),
    ]);
    let server = Server::new(tree.serve());
    for (path, location) in [
        ("/a%20b/%C3%BC%23", "./%C3%BC%23/"),
        ("/a%20b/%C3%BC%23?q=1&r=%2F", "./%C3%BC%23/?q=1&r=%2F"),
        ("/x:y", "./x:y/"),
    ] {
        Client::get(&server, path, "")
            .expect_error(301)
            .has("location", location);
    }
    if !needs::tool("curl") {
        return;
    }
    for (path, body) in [("/a%20b/%C3%BC%23?q=1", b"found"), ("/x:y", b"colon")] {
        let followed = curl::run(&server, path, &["-L"]);
        assert_eq!(followed.statuses(), [301, 200]);
        followed.reply().has_body(body);
    }
    let print = ["-L", "-o", "/dev/null", "-w", "%{url_effective}"];
    let arrived = curl::run(&server, "/a%20b/%C3%BC%23?q=1", &print).reply();
    assert_eq!(arrived.text(), server.url("/a%20b/%C3%BC%23/?q=1"));
}

/// A redirect always stays on its host.
#[test]
fn a_redirect_stays_on_its_host() {
    let tree = Tree::of(&[("evil.example/index.html", b"here")]);
    let server = Server::new(tree.serve());
    for path in [
        "//evil.example",
        "///evil.example",
        "//evil.example?//evil.example",
    ] {
        let reply = Client::get(&server, path, "").expect_error(301);
        let location = reply.field("location").unwrap();
        assert!(location.starts_with("./evil.example/"), "{location}");
    }
    if needs::tool("curl") {
        let followed = curl::run(&server, "//evil.example", &["-L"]);
        followed.reply().has_status(200).has_body(b"here");
    }
}

/// Follows every link of every page, and finds every file.
#[test]
fn a_listing_can_be_walked() {
    let tree = Tree::new();
    let mut expected = BTreeSet::new();
    for name in NASTY {
        for path in [(*name).to_owned(), format!("dir {name}/{name}")] {
            tree.file(&path, path.as_bytes());
            expected.insert(path);
        }
    }
    let server = Server::new(tree.serve().listing(true));
    let mut found = BTreeSet::new();
    let mut to_do = vec!["/".to_owned()];
    while let Some(directory) = to_do.pop() {
        let page = Client::get(&server, &directory, "").has_status(200);
        for href in hrefs(page.text()) {
            let Some(name) = href.strip_prefix("./").filter(|name| !name.is_empty()) else {
                assert!(
                    href.starts_with("../")
                        || href.starts_with('?')
                        || href == "./"
                        || href == "data:,",
                    "{href}"
                );
                continue;
            };
            let path = format!("{directory}{name}");
            if name.ends_with('/') {
                to_do.push(path);
            } else {
                let file = Client::get(&server, &path, "").has_status(200);
                found.insert(file.text().to_owned());
            }
        }
    }
    assert_eq!(found, expected);
}

fn hrefs(page: &str) -> Vec<String> {
    let pieces = page.split("href=\"").skip(1);
    let hrefs = pieces.map(|piece| piece.split('"').next().unwrap().replace("&amp;", "&"));
    hrefs.collect()
}

#[test]
fn a_listing_is_html_or_json() {
    let tree = Tree::of(&[("b.txt", b"12345"), ("sub/x", b""), (".hidden", b"x")]);
    let server = Server::new(tree.serve().listing(true));
    let browser = "Accept: text/html,application/xhtml+xml,*/*;q=0.8\r\n";
    for fields in [
        "",
        browser,
        "Accept: */*\r\n",
        "Accept: application/json;q=0.5, text/html\r\n",
    ] {
        let page = Client::get(&server, "/", fields)
            .has_status(200)
            .has("content-type", "text/html; charset=utf-8")
            .has("vary", "accept, accept-language")
            .has("cache-control", "no-cache");
        let policy = page.field("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(page.text().starts_with("<!DOCTYPE html>"));
        assert!(page.text().contains("b.txt") && !page.text().contains("./.hidden"));
    }
    for (path, fields) in [
        ("/?format=json", ""),
        ("/?format=json", browser),
        ("/", "Accept: application/json\r\n"),
        ("/", "Accept: text/html;q=0.5, application/json\r\n"),
    ] {
        let page = Client::get(&server, path, fields)
            .has("content-type", "application/json; charset=utf-8")
            .has("vary", "accept, accept-language");
        let json: Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(json["path"], "/");
        assert_eq!(names(&json), ["sub", "b.txt"]);
        assert_eq!(json["entries"][0]["type"], "directory");
        assert_eq!(json["entries"][0].get("size"), None);
        assert_eq!(json["entries"][1]["type"], "file");
        assert_eq!(json["entries"][1]["size"], 5);
    }
    // An index comes before a listing.
    tree.file("index.html", b"index");
    Client::get(&server, "/", "").has_body(b"index");
    // Without `listing`, there is none.
    Client::get(&Server::new(tree.serve()), "/sub/", "").expect_error(404);
    let open = Server::new(
        tree.serve()
            .listing(true)
            .hidden(true)
            .append_index_html_on_directories(false),
    );
    let page = Client::get(&open, "/?format=json", "");
    let json: Value = serde_json::from_slice(&page.body).unwrap();
    assert_eq!(names(&json), ["sub", ".hidden", "b.txt", "index.html"]);
}

fn names(json: &Value) -> Vec<&str> {
    let entries = json["entries"].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["name"].as_str().unwrap())
        .collect()
}

#[test]
fn a_listing_is_sorted_as_asked() {
    let tree = Tree::of(&[("b10", b"x"), ("b9", b"xxx"), ("a", b"xx"), ("dir/x", b"")]);
    let server = Server::new(tree.serve().listing(true));
    for (query, expected) in [
        ("", ["dir", "a", "b9", "b10"]),
        ("&sort=name&order=desc", ["dir", "b10", "b9", "a"]),
        ("&sort=size", ["dir", "b10", "a", "b9"]),
        ("&sort=size&order=desc", ["dir", "b9", "a", "b10"]),
        ("&sort=nonsense", ["dir", "a", "b9", "b10"]),
    ] {
        let page = Client::get(&server, &format!("/?format=json{query}"), "");
        let json: Value = serde_json::from_slice(&page.body).unwrap();
        assert_eq!(names(&json), expected, "{query}");
        let page = Client::get(&server, &format!("/?{query}"), "");
        let text = page.text();
        let place = |name: &str| text.find(&format!("href=\"./{name}")).unwrap();
        assert!(expected.is_sorted_by_key(|name| place(name)), "{query}");
    }
}
