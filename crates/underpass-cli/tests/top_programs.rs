//! `underpass top` counts programs that are not ours: their bytes are those that their clients got,
//! to 1 %, and the verdict is the right one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::{Signal, geteuid};
use serde_json::Value;

use crate::support::{Dir, Postgres, Watched, moved, needs};

/// What the servers serve, so often: much more than a program reads when it starts.
const LENGTH: u64 = 32 << 20;
const TIMES: u64 = 4;

#[track_caller]
fn assert_near(counted: u64, got: u64) {
    assert!(
        counted.abs_diff(got) <= got / 100,
        "counted {counted} of {got} bytes"
    );
}

#[track_caller]
fn assert_verdict(process: &Value, kind: &str, part: &str, copies: f64) {
    let verdict = &process["verdict"];
    let line = verdict["line"].as_str().unwrap();
    assert!(
        verdict["kind"] == kind && line.contains(part),
        "{process:#}"
    );
    let value = process["copies_per_byte"]["value"].as_f64().unwrap();
    assert!((value - copies).abs() < 0.15, "{process:#}");
}

/// A file of zeros that are not on the disk. Returns its path.
fn file(dir: &Dir, name: &str, length: u64) -> String {
    let path = dir.path(name);
    File::create(&path).unwrap().set_len(length).unwrap();
    path
}

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).unwrap();
    stream
}

/// The bytes that came until the server closed the connection.
fn rest(mut stream: TcpStream) -> u64 {
    io::copy(&mut stream, &mut io::sink()).unwrap()
}

/// Gets the file several times; the bytes with the heads.
fn get(port: u16) -> u64 {
    let got = (0..TIMES).map(|_| {
        let mut stream = connect(port);
        stream.write_all(b"GET /file HTTP/1.0\r\n\r\n").unwrap();
        rest(stream)
    });
    let got = got.sum();
    assert!(got > TIMES * LENGTH, "{got}");
    got
}

/// The port at the end of the first line of standard output.
fn port_said(server: &mut Watched, before: &str) -> u16 {
    let mut line = String::new();
    let mut said = BufReader::new(server.running().stdout());
    said.read_line(&mut line).unwrap();
    let said = line
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("{line:?}"));
    let digits = said.split(|c: char| !c.is_ascii_digit()).next().unwrap();
    digits.parse().unwrap()
}

/// nginx, which does not choose a port by itself: another program may be faster to take one that
/// was free.
fn nginx(dir: &Dir, sendfile: &str) -> (Watched, u16) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let kinds = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
        let place = dir.path("temporary");
        let temporary = kinds.map(|kind| format!("{kind}_temp_path {place};"));
        let temporary = temporary.join(" ");
        let config = format!(
            "daemon off; master_process off; pid {pid}; error_log stderr notice;
            events {{}}
            http {{
                access_log off; sendfile {sendfile}; {temporary}
                server {{ listen 127.0.0.1:{port}; root {root}; }}
            }}",
            pid = dir.path("pid"),
            root = dir.root(),
        );
        let user = if geteuid().is_root() {
            "user root;"
        } else {
            ""
        };
        let config = dir.file("nginx.conf", format!("{user}{config}").as_bytes());
        let mut server = Watched::start(&["/usr/sbin/nginx", "-e", "stderr", "-c", &config]);
        // The first is said when it listens.
        let said = loop {
            let line = server.running().line();
            if line.contains("event method") || line.contains("emerg") {
                break line;
            }
        };
        if !said.contains("emerg") {
            return (server, port);
        }
        assert!(said.contains("in use"), "{said}");
    }
}

#[test]
fn nginx_sends_files_without_a_copy_if_told_to() {
    if !needs::tool("nginx") {
        return;
    }
    let dir = Dir::new();
    file(&dir, "file", LENGTH);
    for (sendfile, kind, part, copies) in [
        ("on", "zero_copy", "sendfile", 0.0),
        ("off", "avoidable", "sendfile would save both", 2.0),
    ] {
        let (server, port) = nginx(&dir, sendfile);
        let got = get(port);
        let Some(counted) = server.stop() else { return };
        let head = counted.bytes("memory", "tcp");
        assert_near(head + counted.bytes("file", "tcp"), got);
        let from = if sendfile == "on" { "file" } else { "memory" };
        assert_verdict(counted.busiest(from, "tcp"), kind, part, copies);
    }
}

#[test]
fn pythons_http_server_reads_and_writes() {
    if !needs::tool("python3") {
        return;
    }
    let dir = Dir::new();
    file(&dir, "file", LENGTH);
    let words = ["python3", "-u", "-m", "http.server", "0"];
    let at = ["--bind", "127.0.0.1", "--directory", dir.root()];
    let mut server = Watched::start(&[&words[..], &at].concat());
    let port = port_said(&mut server, " port ");
    let got = get(port);
    let Some(counted) = server.stop() else { return };
    assert_near(counted.bytes("memory", "tcp"), got);
    let python = counted.busiest("memory", "tcp");
    assert_verdict(python, "avoidable", "sendfile would save both", 2.0);
}

#[test]
fn a_jvm_does_what_it_is_told() {
    if !needs::optional_tool("javac") {
        return;
    }
    let dir = Dir::new();
    let file = file(&dir, "file", LENGTH);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/top_programs/Serve.java");
    for (way, from, kind, part, copies) in [
        ("transferTo", "file", "zero_copy", "sendfile", 0.0),
        (
            "read",
            "memory",
            "avoidable",
            "sendfile would save both",
            2.0,
        ),
    ] {
        let flags = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];
        let words = [&["java"], &flags[..], &[source, way, &file]].concat();
        let mut server = Watched::start(&words);
        let port = port_said(&mut server, "port ");
        let got = (0..TIMES).map(|_| rest(connect(port))).sum();
        assert_eq!(got, TIMES * LENGTH);
        let Some(counted) = server.stop() else { return };
        assert_near(counted.bytes(from, "tcp"), got);
        assert_verdict(counted.busiest(from, "tcp"), kind, part, copies);
    }
}

#[test]
fn postgresql_computes_with_what_it_reads() {
    const ROWS: u64 = 40_000;
    if !needs::tool("setpriv") {
        return;
    }
    let Some(postgres) = Postgres::make() else {
        return;
    };
    let place = (postgres.dir.root(), "5432");
    let first = postgres.start();
    let make = format!(
        "create table kept as select n, repeat(md5(n::text), 8) from generate_series(1, {ROWS}) n"
    );
    postgres.ask(place, ["-c", &make], b"");
    // So that it has to read the table from its files.
    first.signal(Signal::INT);
    first.finish().ok();

    let as_nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let words = postgres.words();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let before = if geteuid().is_root() {
        &as_nobody[..]
    } else {
        &[]
    };
    let mut server = Watched::start(&[before, &words].concat());
    Postgres::await_ready(server.running());
    let out = "copy kept to stdout (format binary)";
    let content = postgres.ask(place, ["-c", out], b"").len() as u64;
    let Some(counted) = server.stop() else { return };
    // Each row is a message with a head of five bytes.
    let got = content + 5 * ROWS;
    let sender = counted.busiest("memory", "unix");
    assert_near(moved(sender, "memory", "unix"), got);
    assert_eq!(sender["name"], "postgres");
    let line = sender["verdict"]["line"].as_str().unwrap();
    assert_eq!(sender["verdict"]["kind"], "needed", "{line}");
    assert!(line.ends_with("right as it is"), "{line}");
}

#[test]
fn rsync_reads_and_writes_at_both_ends() {
    if !needs::tool("rsync") {
        return;
    }
    let dir = Dir::new();
    std::fs::create_dir(dir.path("from")).unwrap();
    file(&dir, "from/one", LENGTH);
    file(&dir, "from/other", LENGTH / 2);
    let length = LENGTH + LENGTH / 2;
    let (from, to) = (dir.path("from/"), dir.path("to/"));
    let words = ["rsync", "--archive", "--whole-file", &from, &to];
    let Some(counted) = Watched::start(&words).finish() else {
        return;
    };
    let near = |process: &Value, from: &str, to: &str| {
        assert_near(moved(process, from, to), length);
    };
    let sender = counted.busiest("file", "memory");
    near(sender, "file", "memory");
    near(sender, "memory", "unix");
    let part = "reads files and writes sockets; sendfile would save both";
    assert_verdict(sender, "avoidable", part, 2.0);
    let receiver = counted.busiest("memory", "file");
    near(receiver, "unix", "memory");
    assert_eq!(moved(receiver, "memory", "file"), length);
    let part = "reads sockets and writes files; splice would save one copy";
    assert_verdict(receiver, "avoidable", part, 2.0);
}
