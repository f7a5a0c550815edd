//! `serve --upload`: the forms of browsers, sent by curl; and error pages.

use crate::support::{Dir, Reply, Server, bytes, curl, needs};

fn start(dir: &Dir, options: &[&str]) -> Server {
    Server::start(dir, &[&["--insecure-upload"], options].concat())
}

/// Sends a form of these fields to the directory.
fn send(server: &Server, fields: &[&str]) -> Reply {
    let fields = fields.iter().flat_map(|field| ["--form", field]);
    let args: Vec<&str> = fields.chain([server.url.as_str()]).collect();
    curl(&args)
}

#[test]
fn files_of_a_form_are_stored() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, new) = (Dir::in_memory(), Dir::in_memory());
    let large = bytes(5, 3 << 20);
    let (one, two) = (new.file("one", b"content"), new.file("two", &large));
    let server = start(&dir, &[]);
    let reply = send(
        &server,
        &[
            &format!("file=@{one}"),
            &format!("file=@{two};filename=a \"b\""),
        ],
    );
    assert_eq!(
        (reply.status, reply.text()),
        (200, "one: stored\na \\\"b\\\": stored\n")
    );
    assert_eq!(server.get("one").text(), "content");
    assert!(std::fs::read(dir.path("a \"b\"")).unwrap() == large);
    // A browser is led back to the directory.
    let form = format!("file=@{two}");
    let reply = curl(&[
        "--header",
        "Accept: text/html",
        "--form",
        &form,
        &server.url,
    ]);
    assert_eq!((reply.status, reply.field("location")), (303, Some("./")));
    server.stop().ok();
}

#[test]
fn a_name_that_is_taken_is_what_the_form_says() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, new) = (Dir::in_memory(), Dir::in_memory());
    dir.file("a.txt", b"old");
    let file = format!("file=@{}", new.file("a.txt", b"new"));
    let server = start(&dir, &[]);
    let skipped = send(&server, &["exists=skip", &file]);
    assert_eq!(skipped.status, 200);
    assert!(skipped.text().starts_with("a.txt: skipped"), "{skipped:?}");
    assert_eq!(server.get("a.txt").text(), "old");
    for name in ["a (2).txt", "a (3).txt"] {
        let kept = send(&server, &["exists=both", &file]);
        assert_eq!(kept.text(), format!("{name}: stored\n"));
        assert_eq!(std::fs::read(dir.path(name)).unwrap(), b"new");
    }
    let replaced = send(&server, &["exists=replace", &file]);
    assert_eq!(replaced.text(), "a.txt: replaced the old file\n");
    assert_eq!(server.get("a.txt").text(), "new");
    server.stop().ok();
}

#[test]
fn one_file_that_fails_leaves_the_others() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, new) = (Dir::in_memory(), Dir::in_memory());
    let (small, large) = (
        new.file("small", b"x"),
        new.file("large", &bytes(6, 2 << 20)),
    );
    let server = start(&dir, &["--upload-limit", "1MiB"]);
    let fields = [
        format!("file=@{large}"),
        format!("file=@{small};filename=.hidden"),
        format!("file=@{small};filename=../up"),
        format!("file=@{small};filename=.."),
        format!("file=@{small}"),
    ];
    let reply = send(&server, &fields.each_ref().map(String::as_str));
    assert_eq!(reply.status, 413, "{reply:?}");
    let lines: Vec<_> = reply.text().lines().collect();
    for (line, part) in lines.iter().zip([
        "up to 1048576",
        "begin with a dot",
        "up: stored",
        "no name",
        "small: stored",
    ]) {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(lines.len(), 5);
    let mut names: Vec<_> = std::fs::read_dir(dir.root())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["small", "up"], "and no temporary file");
    server.stop().ok();
}

#[test]
fn what_is_no_form_of_this_server_is_refused() {
    if !needs::tool("curl") {
        return;
    }
    let (dir, new) = (Dir::in_memory(), Dir::in_memory());
    let form = format!("file=@{}", new.file("a", b"new"));
    let server = start(&dir, &[]);
    let missing = format!("{}missing/", server.url);
    let no_slash = format!("{}a", server.url);
    let table: &[(&[&str], &str, u16)] = &[
        (
            &["--form", &form, "--header", "Origin: http://example.org"],
            &server.url,
            403,
        ),
        (
            &["--form", &form, "--header", "Sec-Fetch-Site: cross-site"],
            &server.url,
            403,
        ),
        (&["--form", &form], &no_slash, 409),
        (&["--form", &form], &missing, 409),
        (&["--data", "a=b"], &server.url, 415),
        (
            &[
                "--data",
                "--b\r\n",
                "--header",
                "Content-Type: multipart/form-data; boundary=b",
            ],
            &server.url,
            400,
        ),
    ];
    for (options, url, status) in table {
        let reply = curl(&[*options, &[*url]].concat());
        assert_eq!(reply.status, *status, "{options:?}: {reply:?}");
    }
    assert!(std::fs::read_dir(dir.root()).unwrap().next().is_none());
    server.stop().ok();
    let closed = Server::start(&dir, &[]);
    let reply = send(&closed, &[&form]);
    assert_eq!(
        (reply.status, reply.field("allow")),
        (405, Some("get, head, options"))
    );
    closed.stop().ok();
}

#[test]
fn browsers_get_error_pages_and_others_a_line() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let server = Server::start(&dir, &[]);
    let url = format!("{}none%3Cb%3E", server.url);
    let page = ["--header", "Accept: text/html", &url];
    let reply = curl(&page);
    assert_eq!(reply.status, 404);
    assert!(reply.text().contains("Nothing is here."), "{reply:?}");
    let once = !reply.text().contains("nothing is served");
    assert!(once, "{reply:?}");
    assert!(
        reply
            .field("content-security-policy")
            .unwrap()
            .starts_with("default-src 'none'")
    );
    let chinese = curl(&[&["--header", "Accept-Language: zh-CN"], &page[..]].concat());
    assert!(chinese.text().contains("这里没有内容。"), "{chinese:?}");
    let head = curl(&[&["--head"], &page[..]].concat());
    assert_eq!(head.field("content-length"), reply.field("content-length"));
    assert_eq!(
        server.get("none").text(),
        "404 Not Found: nothing is served here\n"
    );
    server.stop().ok();
}
