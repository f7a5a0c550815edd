//! `serve`: invalid input is reported in one line that says what to do.

use std::os::unix::net::UnixListener;

use crate::support::{Dir, Server, curl, needs, run};

fn serve(options: &[&str]) -> crate::support::Outcome {
    run(&[&["serve", "--listen", "127.0.0.1:0"], options].concat())
}

#[test]
fn directories_that_cannot_be_served() {
    let dir = Dir::in_memory();
    let missing = dir.path("missing");
    serve(&[&missing]).fails(1, &[&missing, "No such file"]);
    let below = format!("{}/below", dir.file("file", b"x"));
    serve(&[&below]).fails(1, &[&below, "Not a directory"]);
}

#[test]
fn pages_that_are_not_there() {
    let dir = Dir::in_memory();
    serve(&[dir.root(), "--spa", "app.html"]).fails(1, &["--spa", "app.html", dir.root()]);
    serve(&[dir.root(), "--not-found", "404.html"]).fails(1, &["--not-found", "404.html"]);
}

#[test]
fn addresses_that_are_taken() {
    let dir = Dir::in_memory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = [address.as_str(), "in use", "another program", "--listen"];
    run(&["serve", dir.root(), "--listen", &address]).fails(1, &words);
    serve(&[dir.root(), "--metrics", &address]).fails(1, &[&address, "in use", "--metrics"]);
    let socket = dir.path("socket");
    let _taken = UnixListener::bind(&socket).unwrap();
    let unix = format!("unix:{socket}");
    run(&["serve", dir.root(), "--listen", &unix]).fails(1, &[&unix, "in use"]);
}

#[test]
fn metrics_where_files_are_served() {
    let dir = Dir::in_memory();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let args = [
        "serve",
        dir.root(),
        "--listen",
        &address,
        "--metrics",
        &address,
    ];
    run(&args).fails(2, &["--metrics", &address, "in use by --listen"]);
}

#[test]
fn uploads_from_nobody_in_particular() {
    let dir = Dir::in_memory();
    let words = ["--upload", "--auth", "--auth-file", "--insecure-upload"];
    serve(&[dir.root(), "--upload"]).fails(2, &words);
}

#[test]
fn users_that_cannot_be() {
    let dir = Dir::in_memory();
    let users = dir.file("users", b"ann:secret\nhunter2\n");
    let outcome =
        serve(&[dir.root(), "--auth-file", &users]).fails(2, &[&users, "line 2", "no colon"]);
    assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    for wrong in [":hunter2", "ann:hunter2\u{7}", "hunter2"] {
        let outcome = serve(&[dir.root(), "--auth", wrong]).fails(2, &["--auth"]);
        assert!(!outcome.stderr.contains("hunter2"), "{}", outcome.stderr);
    }
    let empty = dir.file("empty", b"# nobody\n");
    serve(&[dir.root(), "--auth-file", &empty]).fails(2, &[&empty, "no users"]);
    let missing = dir.path("missing");
    serve(&[dir.root(), "--auth-file", &missing]).fails(1, &[&missing, "No such file"]);
}

#[test]
fn fewer_connections_than_addresses() {
    let dir = Dir::in_memory();
    let args = [
        dir.root(),
        "--listen",
        "127.0.0.1:0",
        "--max-connections",
        "1",
    ];
    serve(&args).fails(2, &["connections", "2 addresses"]);
}

/// clap's own errors.
#[test]
fn options_that_cannot_be_right() {
    let table: &[(&[&str], &str)] = &[
        (&["--listen", "8080"], ":8080"),
        (&["--listen", "http://localhost:80"], "without http://"),
        (&["--threads", "0"], "0"),
        (&["--cors", "example.org"], "neither an origin"),
        (
            &["--cors", "https://ann@example.org"],
            "an origin has no user",
        ),
        (&["--cache-control", "a\nb"], "header"),
        (&["--mime", "text/plain"], "EXT=TYPE"),
        (&["--mime", "log=text"], "EXT=TYPE"),
        (&["--mime", "=text/plain"], "EXT=TYPE"),
        (&["--upload-limit", "lots"], "lots"),
        (&["--access-log", "xml"], "combined"),
        (&["--drain", "0"], "not a duration"),
        (&["--spa", "a", "--not-found", "b"], "cannot be used with"),
        (&["--route", "splice"], "--route"),
        (&["--receipt", "json"], "--receipt"),
    ];
    for (options, word) in table {
        let outcome = run(&[&["serve"], *options].concat());
        assert_eq!(outcome.code, 2, "{options:?}");
        assert!(
            outcome.stderr.contains(word),
            "{options:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn options_reach_the_files() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("index.html", b"index");
    dir.file("a.txt", b"content");
    dir.file("a.txt.gz", b"compressed");
    dir.file("a.odd", b"odd");
    dir.file(".hidden", b"hidden");
    std::os::unix::fs::symlink("a.txt", dir.path("link")).unwrap();
    let plain = Server::start(&dir, &[]);
    assert_eq!(plain.get("").text(), "index");
    assert_eq!(plain.get("any/where").status, 404);
    assert_eq!(plain.get(".hidden").status, 404);
    assert_eq!(plain.get("link").status, 404);
    plain.stop().ok();
    let options = [
        "--no-index",
        "--hidden",
        "--symlinks",
        "--precompressed",
        "--spa=index.html",
        "--cache-control=max-age=5",
        "--mime=odd=text/x-odd",
        "--polite-cache",
        "--cache-entries=0",
        "--cache-valid=0",
    ];
    let other = Server::start(&dir, &options);
    assert!(other.get("").text().contains("a.txt"), "a listing");
    assert_eq!(other.get("any/where").status, 404);
    let navigation = [
        "--header",
        "Accept: text/html",
        &format!("{}any/where", other.url),
    ];
    assert_eq!(curl(&navigation).text(), "index");
    let odd = other.get("a.odd");
    assert_eq!(odd.field("content-type"), Some("text/x-odd"));
    assert_eq!(other.get(".hidden").text(), "hidden");
    let link = other.get("link");
    assert_eq!(
        (link.text(), link.field("cache-control")),
        ("content", Some("max-age=5"))
    );
    let url = format!("{}a.txt", other.url);
    let reply = curl(&["--header", "Accept-Encoding: gzip", &url]);
    assert_eq!(reply.text(), "compressed");
    other.stop().ok();
    let last = Server::start(&dir, &["--not-found=a.txt", "--no-index", "--no-listing"]);
    assert_eq!(last.get("").status, 404);
    let missing = last.get("any/where");
    assert_eq!((missing.status, missing.text()), (404, "content"));
    last.stop().ok();
}
