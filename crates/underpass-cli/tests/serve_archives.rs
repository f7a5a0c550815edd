//! `serve`: directories as archives, over HTTP and HTTPS, in logs, and what cannot be read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use serde_json::Value;
use underpass_testing::copy_program;

use crate::support::{
    Dir, Metrics, Running, Secured, Server, bytes, collected, curl, needs, nobody,
};

const MIB: usize = 1 << 20;

/// What tar lists of an archive.
fn listed(archive: &[u8]) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), archive).unwrap();
    let output = Command::new("tar")
        .arg("-tf")
        .arg(file.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    lines.lines().map(str::to_owned).collect()
}

#[test]
fn an_archive_is_logged_and_sent_over_tls() {
    if !needs::tool("curl") || !needs::tool("tar") {
        return;
    }
    let dir = Dir::in_memory();
    let content = bytes(7, MIB);
    fs::create_dir(dir.path("d")).unwrap();
    dir.file("d/large", &content);
    dir.file("d/small", b"small");
    let it = Secured::start(&dir, &["--access-log=json"]);
    let mut sizes = Vec::new();
    for (version, format) in [("--http1.1", "tar"), ("--http2", "tar"), ("--http2", "zip")] {
        let reply = it.curl(&[version, &it.url(&format!("d/?archive={format}"))]);
        assert_eq!(reply.status, 200);
        assert!(reply.body.windows(content.len()).any(|it| it == content));
        if format == "tar" {
            assert_eq!(listed(&reply.body), ["d/", "d/large", "d/small"]);
        }
        sizes.push(reply.body.len() as u64);
    }
    let logged = it.server.stop().ok();
    let logged = logged
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    let logged: Vec<Value> = logged.collect();
    let bytes: Vec<_> = logged
        .iter()
        .map(|it| it["bytes"].as_u64().unwrap())
        .collect();
    assert_eq!(bytes, sizes, "{logged:?}");
    let tar = logged.iter().filter(|it| it["target"] == "/d/?archive=tar");
    assert_eq!(tar.count(), 2);
}

/// Bodies of large files leave by sendfile.
#[test]
fn an_archive_leaves_by_sendfile() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    for name in ["a", "b"] {
        dir.file(name, &bytes(8, MIB));
    }
    let mut server = Server::start(&dir, &["--metrics=127.0.0.1:0"]);
    let mut metrics = Metrics::of(&server.running.line());
    for format in ["tar", "zip"] {
        assert_eq!(server.get(&format!("?archive={format}")).status, 200);
    }
    let sent = "underpass_http_response_bytes_total{route=\"sendfile\"}";
    assert_eq!(metrics.sample(sent), 4 * MIB as u64);
    server.stop().ok();
}

/// What the server may not read is missing, and the archive says so.
#[test]
fn what_cannot_be_read_is_told_in_the_archive() {
    if !needs::root() || !needs::tool("curl") || !needs::tool("tar") {
        return;
    }
    let dir = Dir::in_memory();
    fs::create_dir_all(dir.path("d/closed")).unwrap();
    for name in ["d/secret", "d/open", "d/closed/in"] {
        dir.file(name, b"content");
    }
    let denied = || fs::Permissions::from_mode(0o000);
    fs::set_permissions(dir.path("d/secret"), denied()).unwrap();
    fs::set_permissions(dir.path("d/closed"), denied()).unwrap();
    let program = dir.path("underpass");
    copy_program(env!("CARGO_BIN_EXE_underpass"), &program);
    let mut command = collected(&program);
    command.args([
        "serve",
        dir.root(),
        "--listen",
        "127.0.0.1:0",
        "--metrics=127.0.0.1:0",
    ]);
    let mut running = Running::start(nobody(command, &dir));
    let line = running.line();
    let url = line
        .split(" on ")
        .nth(1)
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let mut metrics = Metrics::of(&running.line());
    let reply = curl(&[&format!("{url}d/?archive=tar")]);
    assert_eq!(listed(&reply.body), ["d/", "d/open", "d.left-out.txt"]);
    let note = "Not in this archive:\n\nclosed: permission denied\nsecret: permission denied\n";
    assert!(
        reply
            .body
            .windows(note.len())
            .any(|it| it == note.as_bytes())
    );
    assert_eq!(metrics.sample("underpass_http_archive_left_out_total"), 2);
    let zip = curl(&[&format!("{url}d/?archive=zip")]);
    if needs::tool("unzip") {
        let file = dir.file("got.zip", &zip.body);
        let output = Command::new("unzip").args(["-tq", &file]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    running.signal(rustix::process::Signal::TERM);
    running.finish().ok();
}

/// A file that changes while it is sent is told on standard error.
#[test]
fn pitfall_33_a_change_is_told() {
    use std::io::{Read as _, Write as _};
    let dir = Dir::in_memory();
    dir.file("1", &bytes(1, crate::support::MORE_THAN_BUFFERS));
    dir.file("2", b"second");
    let server = Server::start(&dir, &[]);
    let place = server
        .url
        .trim_start_matches("http://")
        .trim_end_matches('/');
    let mut stream = std::net::TcpStream::connect(place).unwrap();
    stream
        .write_all(b"GET /?archive=tar HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    // The head, and the beginning of the archive.
    stream.read_exact(&mut [0; 4000]).unwrap();
    fs::write(dir.path("2"), "other").unwrap();
    // It ends short, which may also be a reset.
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    let outcome = server.stop();
    let line = "/2 was changed while it was sent in an archive";
    assert!(outcome.stderr.contains(line), "{}", outcome.stderr);
    outcome.ok();
}

#[test]
fn archives_can_be_switched_off_and_limited() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let status = |options: &[&str]| {
        let server = Server::start(&dir, options);
        let status = server.get("?archive=tar").status;
        let has_links = server.get("").text().contains("archive=tar");
        server.stop().ok();
        (status, has_links)
    };
    assert_eq!(status(&[]), (200, true));
    assert_eq!(status(&["--no-archive"]), (404, false));
    assert_eq!(status(&["--no-archive", "--archive"]), (200, true));
    assert_eq!(status(&["--archive-max-files=1"]), (403, true));
    assert_eq!(status(&["--archive-max-size=1KiB"]), (403, true));
}
