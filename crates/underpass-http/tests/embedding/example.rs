//! Runs the examples as a user does.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Client, Files, MIB, bytes, needs};

/// A running example, which serves the files.
struct Example {
    process: Child,
    address: SocketAddr,
}

impl Example {
    /// Cargo builds examples beside test programs, unless it is told to build only those.
    fn start(name: &str, files: &Files) -> Option<Self> {
        let this = std::env::current_exe().unwrap();
        let program: PathBuf = this.ancestors().nth(2).unwrap().join("examples").join(name);
        if !program.exists() {
            needs::lacking("the examples are not built");
            return None;
        }
        let mut process = Command::new(program)
            .args([files.root().to_str().unwrap(), "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let (_, address) = line.trim().split_once("http://").expect(&line);
        Some(Self {
            address: address.parse().unwrap(),
            process,
        })
    }

    fn stops_on_ctrl_c(mut self) {
        kill_process(Pid::from_child(&self.process), Signal::INT).unwrap();
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn the_axum_example_serves_and_stops_on_ctrl_c() {
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    let Some(example) = Example::start("axum", &files) else {
        return;
    };
    let mut client = Client::connect(example.address);
    assert_eq!(client.get("/hello").body, b"hello\n");
    assert!(client.get("/assets/file").body == content);
    assert!(client.get("/file").body == content);
    example.stops_on_ctrl_c();
    assert_eq!(client.rest(), b"");
}

#[test]
fn the_downloads_example_authorises_then_sends() {
    let content = bytes(MIB);
    let files = Files::new()
        .with("report.csv", &content)
        .with("drawing", b"<svg/>");
    let Some(example) = Example::start("downloads", &files) else {
        return;
    };
    let mut client = Client::connect(example.address);
    let refused = client.get("/reports/report.csv");
    assert_eq!(refused.status, 401);
    assert_eq!(refused.field("www-authenticate"), Some("Bearer"));
    let mut allowed = |target: &str, fields: &str| {
        let fields = format!("Authorization: Bearer secret\r\n{fields}");
        client.ask("GET", target, &fields);
        client.answer()
    };
    let report = allowed("/reports/report.csv", "");
    assert!(report.body == content);
    for (field, value) in [
        ("content-disposition", "attachment; filename=\"report.csv\""),
        ("content-type", "text/csv; charset=utf-8"),
        ("cache-control", "private, no-cache"),
    ] {
        assert_eq!(report.field(field), Some(value));
    }
    let part = allowed("/reports/report.csv", "Range: bytes=100-199\r\n");
    assert_eq!(part.status, 206);
    assert_eq!(part.body, content[100..200]);
    let etag = report.field("etag").unwrap();
    let known = allowed("/reports/report.csv", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(known.status, 304);
    for target in [
        "/reports/absent",
        "/reports/%2e%2e/secret",
        "/reports/..%2fsecret",
    ] {
        assert_eq!(allowed(target, "").status, 404, "{target}");
    }
    let drawing = client.get("/drawing");
    assert_eq!(drawing.body, b"<svg/>");
    assert_eq!(drawing.field("content-type"), Some("image/svg+xml"));
    let name = drawing.field("content-disposition").unwrap();
    assert!(name.contains("filename*=UTF-8''Br%C3%BCcke%20"), "{name}");
    example.stops_on_ctrl_c();
}
