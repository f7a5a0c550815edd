//! `serve --access-log`: a line for every request, in two formats, without any server thread
//! waiting for the log.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::{
    Dir, MORE_THAN_BUFFERS, Metrics, Mount, Server, bytes, curl, needs, underpass,
};

/// Stops the server and reads what it logged.
fn objects(server: Server) -> Vec<Value> {
    let outcome = server.stop().ok();
    let lines = outcome.text().lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn host(server: &Server) -> &str {
    let host = server.url.strip_prefix("http://").unwrap();
    host.trim_end_matches('/')
}

#[test]
fn json_lines_say_everything() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    // With one thread, requests are logged in order.
    let options = ["--access-log=json", "--auth=ann:secret", "--threads=1"];
    let server = Server::start(&dir, &options);
    let url = format!("{}a?b=c", server.url);
    curl(&[
        "--user",
        "ann:secret",
        "--referer",
        "http://r/",
        "--user-agent",
        "agent \"1\"",
        &url,
    ]);
    curl(&[&url]);
    curl(&["--user", "ann:secret", "--head", &url]);
    let logged = objects(server);
    assert_eq!(logged.len(), 3);
    let first = &logged[0];
    for (key, value) in [
        ("peer", "127.0.0.1"),
        ("user", "ann"),
        ("method", "GET"),
        ("target", "/a?b=c"),
        ("version", "HTTP/1.1"),
        ("referer", "http://r/"),
        ("user_agent", "agent \"1\""),
    ] {
        assert_eq!(first[key], value, "{first}");
    }
    assert_eq!(first["stream"], Value::Null);
    assert_eq!(first["status"], 200);
    assert_eq!(first["bytes"], 7);
    assert_eq!(first["complete"], true);
    assert!(first["seconds"].as_f64().unwrap() > 0.0);
    let time = first["time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z'), "{time}");
    assert_eq!(logged[1]["status"], 401);
    assert_eq!(logged[1]["user"], Value::Null);
    assert_eq!(
        (&logged[2]["method"], &logged[2]["bytes"]),
        (&"HEAD".into(), &0.into())
    );
}

#[test]
fn combined_lines_are_apaches() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let server = Server::start(&dir, &["--access-log=combined", "--threads=1"]);
    let url = format!("{}a", server.url);
    curl(&["--user-agent", "say \"hi\"\\", "--referer", "ä\tö", &url]);
    curl(&["--user-agent", "", &format!("{}missing", server.url)]);
    let outcome = server.stop().ok();
    let lines: Vec<_> = outcome.text().lines().collect();
    let (start, rest) = lines[0].split_once(" [").unwrap();
    assert_eq!(start, "127.0.0.1 - -");
    let (time, rest) = rest.split_once("] ").unwrap();
    assert!(time.len() == 26 && time.ends_with(" +0000"), "{time}");
    let want = r#""GET /a HTTP/1.1" 200 7 "\xc3\xa4\t\xc3\xb6" "say \"hi\"\\""#;
    assert_eq!(rest, want);
    assert!(
        lines[1].contains("\"GET /missing HTTP/1.1\" 404 "),
        "{}",
        lines[1]
    );
    assert!(lines[1].ends_with("\"-\" \"-\""), "{}", lines[1]);
    assert_eq!(lines.len(), 2);
}

/// Input that is not a request: the bytes, the status of the response, and what is logged.
const MALFORMED: [(&[u8], u16, &str, &str); 5] = [
    (
        b"\x16\x03\x01\x02\x00\x01\x00",
        400,
        r"\x16\x03\x01\x02\x00\x01\x00",
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0",
    ),
    (
        b"GET /a HTTP/1.1\nHost: a\n\n",
        400,
        "GET /a HTTP/1.1",
        "GET /a HTTP/1.1",
    ),
    (
        b"PUT /a HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        400,
        "PUT /a HTTP/1.1",
        "PUT /a HTTP/1.1",
    ),
    (
        b"PUT /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n",
        501,
        "PUT /a HTTP/1.1",
        "PUT /a HTTP/1.1",
    ),
    // hyper refuses this one.
    (b"GET /a HTTP/1.1\r\nHost : a\r\n\r\n", 400, "-", ""),
];

/// Programs that ban attackers read about them in the log.
#[test]
fn what_is_refused_is_logged_and_counted() {
    let dir = Dir::in_memory();
    let large = format!("GET /{}", "x".repeat(20_000)).into_bytes();
    let all = || MALFORMED.iter().map(|it| it.0).chain([&*large]);
    let started = |form| {
        let options = [form, "--threads=1", "--metrics=127.0.0.1:0"];
        let server = Server::start(&dir, &options);
        for bytes in all() {
            let mut stream = TcpStream::connect(host(&server)).unwrap();
            stream.write_all(bytes).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(
                answer.starts_with(b"HTTP/1.1 "),
                "{}",
                answer.escape_ascii()
            );
        }
        server
    };
    let outcome = started("--access-log=combined").stop().ok();
    let lines: Vec<_> = outcome.text().lines().collect();
    for ((_, status, line, _), logged) in MALFORMED.iter().zip(&lines) {
        assert!(logged.starts_with("127.0.0.1 - - ["), "{logged}");
        let word = format!("] \"{line}\" {status} ");
        assert!(logged.contains(&word), "{word} in {logged}");
    }
    assert!(lines[5].contains("\"GET /xxx") && lines[5].contains("xxx\" 431 "));
    assert_eq!(lines.len(), 6);

    let mut server = started("--access-log=json");
    if needs::tool("curl") {
        let metrics = curl(&[&format!("{}metrics", server.metrics())]);
        for line in [
            "underpass_http_requests_refused_total 6",
            "underpass_http_requests_total{status=\"501\",method=\"PUT\"} 1",
            "underpass_http_requests_total{status=\"431\",method=\"GET\"} 1",
            "underpass_http_requests_total{status=\"400\",method=\"other\"} 2",
        ] {
            assert!(
                metrics.text().contains(line),
                "{line} in {}",
                metrics.text()
            );
        }
    }
    let logged = objects(server);
    for ((_, status, _, line), logged) in MALFORMED.iter().zip(&logged) {
        assert_eq!(
            (&logged["status"], &logged["malformed"]),
            (&(*status).into(), &(*line).into())
        );
        assert_eq!(logged["target"], Value::Null);
    }
}

/// Names are bytes, and a log is text: names are logged as they were requested.
#[test]
fn names_that_are_no_text_are_logged_as_they_came() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let name = OsStr::from_bytes(b"caf\xe9.txt");
    std::fs::write(Path::new(dir.root()).join(name), b"content").unwrap();
    let server = Server::start(&dir, &["--access-log=json"]);
    assert_eq!(server.get("caf%E9.txt").text(), "content");
    assert_eq!(objects(server)[0]["target"], "/caf%E9.txt");
}

/// Reads the beginning of a download, and disconnects.
fn broken_off(server: &Server) {
    let mut stream = TcpStream::connect(host(server)).unwrap();
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0; 1000]).unwrap();
}

#[test]
fn a_download_that_broke_off_shows() {
    let dir = Dir::in_memory();
    dir.file("big", &bytes(320, MORE_THAN_BUFFERS));
    let server = Server::start(&dir, &["--access-log", "json"]);
    broken_off(&server);
    let logged = objects(server);
    assert_eq!(logged[0]["complete"], false, "{}", logged[0]);
    assert!(logged[0]["bytes"].as_u64().unwrap() <= MORE_THAN_BUFFERS as u64);
    let mut server = Server::start(&dir, &["--access-log", "combined"]);
    broken_off(&server);
    let line = server.running.line();
    for part in ["127.0.0.1", "\"GET /big HTTP/1.1\"", "broke off"] {
        assert!(line.contains(part), "{line}");
    }
    let outcome = server.stop().ok();
    assert!(outcome.text().contains("\"GET /big HTTP/1.1\" 200 "));
}

#[test]
fn verbose_says_why_a_connection_ended() {
    let dir = Dir::in_memory();
    let options = ["--verbose", "--head-timeout", "50ms"];
    let mut server = Server::start(&dir, &options);
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    stream.write_all(b"GET /").unwrap();
    let line = server.running.line();
    assert!(
        line.contains("127.0.0.1:") && line.contains("timed out"),
        "{line}"
    );
    server.stop().ok();
}

/// This is always reported, without any option: what arrived is not the file.
#[test]
fn a_file_that_gets_shorter_is_told_of() {
    let dir = Dir::in_memory();
    let path = dir.file("\u{1b}big", &bytes(321, MORE_THAN_BUFFERS));
    let mut server = Server::start(&dir, &[]);
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    stream
        .write_all(b"GET /%1bbig HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0]).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(1).unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    let head = rest
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let body = rest.len() - head - 4;
    let line = server.running.line();
    let told =
        format!(": sent {body} of {MORE_THAN_BUFFERS} bytes of /%1bbig: the file was truncated");
    assert!(
        line.contains("127.0.0.1:") && line.contains(&told),
        "{told}\n{line}"
    );
    server.stop().ok();
}

#[test]
fn a_reader_that_went_away_ends_the_log_and_not_the_server() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let args = [
        "serve",
        dir.root(),
        "--listen=127.0.0.1:0",
        "--access-log=json",
    ];
    let mut server = Server::of(underpass(&args));
    drop(server.running.stdout());
    assert_eq!(server.get("a").text(), "content");
    let line = server.running.line();
    assert!(
        line.contains("access log") && line.contains("Broken pipe"),
        "{line}"
    );
    for _ in 0..3 {
        assert_eq!(server.get("a").text(), "content");
    }
    server.running.signal(Signal::TERM);
    assert_eq!(server.running.finish().ok().stderr, "");
}

/// Nobody reads the log: requests are answered all the same, and lost lines are counted.
#[test]
fn a_reader_that_does_not_read_holds_nobody_up() {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let mut server = Server::start(&dir, &["--access-log=json", "--threads=1"]);
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    // Twice as many as the queue and a pipe hold.
    let (requests, at_once) = (20_000, 100);
    let one = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    for _ in 0..requests / at_once {
        stream.write_all(&one.repeat(at_once)).unwrap();
        read_responses(&mut stream, at_once);
    }
    drop(stream);
    server.running.signal(Signal::TERM);
    let mut logged = String::new();
    server.running.stdout().read_to_string(&mut logged).unwrap();
    let outcome = server.running.finish().ok();
    let written = logged.lines().count();
    let lost = outcome.stderr.split(" line").next().unwrap();
    let lost = lost.rsplit(' ').next().unwrap().replace(',', "");
    let lost: usize = lost.parse().unwrap();
    assert!(lost > 0, "{}", outcome.stderr);
    assert_eq!(written + lost, requests);
}

/// A full disk loses lines, and each is counted once, however they were cut. When there is room
/// again, the log goes on, and a message says how many lines are missing.
#[test]
fn lines_that_a_full_disk_loses_are_counted() {
    let Some(mount) = Mount::tmpfs("size=64k") else {
        return;
    };
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let log = format!("{}/log", mount.root());
    let mut server = Server::start(
        &dir,
        &[
            "--access-log=json",
            "--access-log-file",
            &log,
            "--metrics=127.0.0.1:0",
            "--threads=1",
        ],
    );
    let mut metrics = Metrics::of(&server.running.line());
    let name = "underpass_http_access_log_lost_total";
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    let one = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n";
    let (mut requests, at_once) = (0_u64, 100);
    // Many batches fail, one after the other.
    while metrics.sample(name) < 1000 {
        stream.write_all(&one.repeat(at_once)).unwrap();
        read_responses(&mut stream, at_once);
        requests += at_once as u64;
        assert!(requests < 100_000, "nothing is lost");
    }
    let whole_lines = || {
        let logged = std::fs::read(&log).unwrap();
        let lines = logged.split(|byte| *byte == b'\n');
        let whole = lines.filter(|line| serde_json::from_slice::<Value>(line).is_ok());
        whole.count() as u64
    };
    metrics.await_more_than(name, requests - whole_lines() - 1);
    let lost = metrics.sample(name);
    // What was written last, was written before it was counted.
    assert_eq!(whole_lines() + lost, requests);
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    file.set_len(0).unwrap();
    stream.write_all(one).unwrap();
    read_responses(&mut stream, 1);
    drop(stream);
    server.running.signal(Signal::TERM);
    let said = server.running.finish().ok().stderr;
    assert!(said.contains("lines are lost until"), "{said}");
    let again = format!("{log}: it is written to again;");
    assert!(said.contains(&again), "{said}");
    assert_eq!(whole_lines(), 1);
    let told = said.lines().filter_map(|line| {
        let (before, _) = line
            .split_once(" lost")
            .filter(|(it, _)| it.contains(" line"))?;
        let number = before.rsplit(' ').nth(1)?.replace(',', "");
        number.parse::<u64>().ok()
    });
    assert_eq!(told.sum::<u64>(), lost, "{said}");
}

/// The lines that wait for a stalled reader are limited by their memory, whatever clients send.
#[test]
fn long_fields_do_not_fill_the_memory() {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let server = Server::start(&dir, &["--access-log=json", "--threads=1"]);
    let mut stream = TcpStream::connect(host(&server)).unwrap();
    let agent = "a".repeat(8000);
    let one = format!("GET /a HTTP/1.1\r\nHost: a\r\nUser-Agent: {agent}\r\n\r\n").repeat(10);
    let mut send = |times| {
        for _ in 0..times {
            stream.write_all(one.as_bytes()).unwrap();
            read_responses(&mut stream, 10);
        }
    };
    send(10);
    let before = server.running.resident();
    send(900);
    let more = server.running.resident().saturating_sub(before);
    assert!(more < 16 << 20, "{more} bytes more");
}

/// Reads whole responses whose body is "content", a word that does not occur in their heads.
fn read_responses(stream: &mut TcpStream, count: usize) {
    let (mut got, mut buffer) = (Vec::new(), [0; 16 << 10]);
    let end = b"\r\n\r\ncontent";
    let ends = |got: &[u8]| got.windows(end.len()).filter(|part| part == end).count();
    while ends(&got) < count {
        let read = stream.read(&mut buffer).unwrap();
        assert!(read > 0, "the server went away");
        got.extend_from_slice(&buffer[..read]);
    }
}

/// A socket for both families sees IPv4 peers as mapped IPv6 addresses; the log shows them as IPv4.
#[test]
fn peers_have_the_numbers_they_are_known_by() {
    let dir = Dir::in_memory();
    let args = [
        "serve",
        dir.root(),
        "--listen=:0",
        "--access-log=json",
        "-v",
        "--keep-alive=1ms",
    ];
    let mut server = Server::of(underpass(&args));
    let mut stream = TcpStream::connect(host(&server).trim_end_matches(',')).unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    let line = server.running.line();
    assert!(line.starts_with("underpass: 127.0.0.1:"), "{line}");
    assert_eq!(objects(server)[0]["peer"], "127.0.0.1");
}
