//! `serve` started by hand: one file, a port, and what a terminal shows.

use rustix::process::Signal;

use crate::support::{Dir, Server, Terminal, curl, needs, run, underpass};

/// The URL in a line that says what is served.
fn url(line: &str) -> String {
    let place = line.split(" on ").nth(1).expect(line);
    place.split(' ').next().unwrap().to_owned()
}

#[test]
fn one_file_is_served_by_its_name_and_nothing_else_is() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let file = dir.file("a report.txt", b"content");
    dir.file("other", b"secret");
    dir.file("a report.txt.gz", b"compressed");
    let args = ["serve", &file, "-p", "0", "--precompressed"];
    let server = Server::of(underpass(&args));
    assert!(
        server.line.contains("a report.txt on http://127.0.0.1:"),
        "{}",
        server.line
    );
    assert!(server.line.contains("one file"), "{}", server.line);
    let root = server.get("");
    let found = (root.status, root.field("location"));
    assert_eq!(found, (302, Some("./a%20report.txt")));
    let followed = curl(&["--location", "--output", "-", &server.url]);
    assert!(followed.text().ends_with("content"), "{followed:?}");
    assert_eq!(server.get("a%20report.txt").text(), "content");
    let zipped = format!("{}a%20report.txt", server.url);
    let zipped = curl(&["--header", "Accept-Encoding: gzip", &zipped]);
    assert_eq!(zipped.text(), "compressed");
    for other in [
        "other",
        "a%20report.txt.gz",
        "../other",
        "a%20report.txt/x",
        ".",
    ] {
        let url = format!("{}{other}", server.url);
        let status = curl(&["--path-as-is", &url]).status;
        assert!(
            [302, 404].contains(&status) && (status == 404 || other == "."),
            "{other}"
        );
    }
    server.stop().ok();
}

#[test]
fn a_hidden_file_and_a_link_are_served_if_they_are_named() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let hidden = dir.file(".hidden", b"content");
    let link = dir.path("link");
    std::os::unix::fs::symlink(".hidden", &link).unwrap();
    for named in [&hidden, &link] {
        let server = Server::of(underpass(&["serve", named, "-p", "0"]));
        assert_eq!(server.get(".hidden").text(), "content");
        server.stop().ok();
    }
}

#[test]
fn options_for_directories_need_one() {
    let dir = Dir::in_memory();
    let file = dir.file("file", b"x");
    for option in ["--spa=a", "--not-found=a", "--insecure-upload"] {
        let word = if option.contains("upload") {
            "--upload"
        } else {
            &option[..option.len() - 2]
        };
        run(&["serve", &file, "-p0", option]).fails(2, &[&file, "is a file", word]);
    }
    run(&["serve", "/dev/null"]).fails(1, &["/dev/null", "neither a directory nor"]);
}

#[test]
fn ports_that_cannot_be() {
    run(&["serve", "8080"]).fails(1, &["8080", "No such file", "--port 8080"]);
    run(&["serve", ":8080"]).fails(1, &["No such file", "--listen :8080"]);
    for (args, word) in [
        (&["serve", "-p"][..], "--port <PORT>"),
        (&["serve", "-p", "http"], "\"http\" is not a port"),
        (&["serve", "-p", "65536"], "from 0 to 65535"),
        (
            &["serve", "-p", "1", "--listen", ":2"],
            "cannot be used with",
        ),
    ] {
        let outcome = run(args);
        assert_eq!(outcome.code, 2, "{args:?}");
        assert!(
            outcome.stderr.contains(word),
            "{args:?}: {}",
            outcome.stderr
        );
    }
}

#[test]
fn a_terminal_shows_requests() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut server = Terminal::start(&["serve", dir.root(), "-p", "0"]);
    let url = url(&server.line_with("serving"));
    server.line_with("only this machine can connect; --listen :");
    assert_eq!(curl(&[&format!("{url}a?%1b1")]).status, 200);
    let line = server.line_with("GET");
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!(
        words[1..7],
        ["127.0.0.1", "GET", "/a?%1b1", "200", "7", "B"],
        "{line}"
    );
    assert_eq!(words[0].split(':').count(), 3, "{line}");
    assert_eq!(curl(&[&format!("{url}missing")]).status, 404);
    assert!(server.line_with("missing").contains(" 404 "));
    server.signal(Signal::TERM);
    server.rest();
}

#[test]
fn a_terminal_shows_no_requests_if_they_are_not_wanted() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let log = dir.path("log");
    let file = ["--access-log-file", &log];
    for options in [&["--access-log=none"][..], &file] {
        let args = [&["serve", dir.root(), "-p", "0"], options].concat();
        let mut server = Terminal::start(&args);
        let url = url(&server.line_with("serving"));
        assert_eq!(curl(&[&url]).status, 200);
        server.signal(Signal::TERM);
        let rest = server.rest();
        assert!(!rest.contains("GET"), "{options:?}: {rest}");
    }
}

/// The terminal shows `^C` where the cursor is.
#[test]
fn what_is_said_after_ctrl_c_begins_on_a_line_of_its_own() {
    let dir = Dir::in_memory();
    let mut terminal = Terminal::start(&["recv", "127.0.0.1:0", &dir.path("out")]);
    terminal.line_with("listening");
    terminal.press("\x03");
    terminal.until("^C");
    // It is not the terminal of its session, which would send the signal.
    terminal.signal(Signal::INT);
    let rest = terminal.rest();
    assert!(rest.starts_with("\r\nunderpass: "), "{rest:?}");
}

#[test]
fn every_interface_of_this_machine_is_shown() {
    let mut server = Terminal::start(&["serve", "/", "--listen", ":0"]);
    let line = server.line_with("serving");
    assert!(line.contains("http://127.0.0.1:"), "{line}");
    server.signal(Signal::TERM);
    let rest = server.rest();
    assert!(!rest.contains("only this machine"), "{rest}");
    let others = rest.lines().filter(|line| line.contains("also on"));
    for other in others {
        let this = url(other);
        assert!(
            !line.contains(&this) && this.starts_with("http://"),
            "{other}"
        );
    }
}
