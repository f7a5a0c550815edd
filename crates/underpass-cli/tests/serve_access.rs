//! `serve`: which clients have access, which web pages have access, and who may upload.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use crate::support::{Dir, Server, bytes, curl, needs, run};

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

/// The standard output of a program.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{program}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// A line of a file of users, made by htpasswd(1); `cost` is bcrypt's.
fn htpasswd(kind: &str, cost: &str, name: &str, password: &str) -> String {
    let cost = if kind == "-B" { &["-C", cost][..] } else { &[] };
    let args = [&["-n", "-b", kind][..], cost, &[name, password]].concat();
    said("htpasswd", &args).trim().to_owned() + "\n"
}

#[test]
fn hashes_of_passwords_are_verified() {
    if !["curl", "htpasswd", "argon2", "sh"]
        .into_iter()
        .all(needs::tool)
    {
        return;
    }
    let (dir, etc) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let argon2 = said(
        "sh",
        &["-c", "printf apple | argon2 somesalt -id -t 1 -m 8 -p 1 -e"],
    );
    let lines = htpasswd("-B", "5", "ann", "secret") + &format!("bob:{argon2}") + "eve:plain\n";
    // As some editors write it.
    let users = etc.file("users", format!("\u{feff}{lines}").as_bytes());
    let server = Server::start(&dir, &["--auth-file", &users, "--access-log=combined"]);
    let url = format!("{}a", server.url);
    for known in ["ann:secret", "bob:apple", "eve:plain", "ann:secret"] {
        assert_eq!(curl(&["--user", known, &url]).text(), "content", "{known}");
    }
    let (_, hash) = lines.lines().next().unwrap().split_once(':').unwrap();
    let itself = format!("ann:{hash}");
    for unknown in [
        "ann:apple",
        "ann:",
        "bob:secret",
        "eve:secret",
        "zoe:secret",
        &itself,
    ] {
        assert_eq!(curl(&["--user", unknown, &url]).status, 401, "{unknown}");
    }
    let log = server.stop().ok();
    assert!(
        log.text().starts_with("127.0.0.1 - ann ["),
        "{}",
        log.text()
    );
}

#[test]
fn other_hashes_are_refused_by_their_names() {
    if !needs::tool("htpasswd") {
        return;
    }
    let (dir, etc) = (Dir::in_memory(), Dir::in_memory());
    for (kind, name) in [
        ("-m", "Apache's MD5"),
        ("-s", "SHA-1"),
        ("-2", "SHA-256"),
        ("-5", "SHA-512"),
    ] {
        let line = htpasswd(kind, "", "ann", "secret");
        let users = etc.file("users", format!("eve:plain\n{line}").as_bytes());
        let words = [&users, "line 2", name, "htpasswd -B", "argon2"];
        run(&["serve", dir.root(), "--auth-file", &users]).fails(2, &words);
    }
}

#[test]
fn pitfall_31_a_hangup_reads_passwords_again() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, etc) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let users = etc.file("users", b"ann:secret\n");
    let mut server = Server::start(&dir, &["--auth-file", &users, "--auth", "eve:plain"]);
    let url = format!("{}a", server.url);
    let status = |user: &str| curl(&["--user", user, &url]).status;
    assert_eq!((status("ann:secret"), status("bob:apple")), (200, 401));
    for (text, word) in [
        ("bob:apple\n", "read again"),
        ("no colon\n", "line 1: no colon"),
        ("# nobody\n", "it has no users"),
    ] {
        std::fs::write(&users, text).unwrap();
        server.running.signal(Signal::HUP);
        let line = server.running.line();
        assert!(line.contains(&users) && line.contains(word), "{line}");
        // If the file is wrong, the previous users stay.
        assert_eq!(
            (
                status("ann:secret"),
                status("bob:apple"),
                status("eve:plain")
            ),
            (401, 200, 200)
        );
    }
    server.stop().ok();
}

/// Sends a request with a name and a password, and does not wait for the response.
fn ask(server: &Server, user: &str) -> TcpStream {
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host.trim_end_matches('/')).unwrap();
    let credentials = STANDARD.encode(user);
    let request =
        format!("GET /a HTTP/1.1\r\nHost: a\r\nAuthorization: Basic {credentials}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

/// The status of the response.
fn answered(stream: &mut TcpStream) -> String {
    let mut head = [0; 12];
    stream.read_exact(&mut head).unwrap();
    String::from_utf8(head[9..].to_vec()).unwrap()
}

/// Hashes are slow by design. Requests that need none do not wait for them, and guessing does not
/// use up the whole machine.
#[test]
fn guesses_hold_nobody_up() {
    if !needs::tool("htpasswd") {
        return;
    }
    let (dir, etc) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a", b"content");
    let lines = htpasswd("-B", "12", "ann", "secret") + "eve:plain\n";
    let users = etc.file("users", lines.as_bytes());
    let server = Server::start(&dir, &["--auth-file", &users, "--threads=1"]);
    let mut guesses: Vec<_> = (0..300)
        .map(|at| ask(&server, &format!("ann:{at}")))
        .collect();
    // By then the server's single thread has seen all of them: the last ones are more than may
    // wait.
    let last = guesses.last_mut().unwrap();
    assert_eq!(answered(last), "503");
    assert_eq!(answered(&mut ask(&server, "eve:plain")), "200");
    assert_eq!(answered(&mut ask(&server, "eve:plain")), "200");
    let unanswered = guesses.iter().filter(|guess| {
        guess.set_nonblocking(true).unwrap();
        guess
            .peek(&mut [0])
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    });
    assert!(unanswered.count() > 200);
}

#[test]
fn pages_of_other_origins_are_let_in_where_it_is_allowed() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    // A browser first asks without credentials.
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
