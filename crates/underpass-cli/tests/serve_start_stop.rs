//! `serve`: what it prints when it starts, and how it ends.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::support::{
    Authority, Dir, MORE_THAN_BUFFERS, Metrics, Running, Server, bytes, needs, underpass,
    underpass_by,
};

/// A download in progress: a connection that asked for all of `/big` and read its first byte.
fn download(server: &Server) -> TcpStream {
    download_of(server, "/big")
}

fn download_of(server: &Server, path: &str) -> TcpStream {
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host.trim_end_matches('/')).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes())
        .unwrap();
    stream.read_exact(&mut [0]).unwrap();
    stream
}

/// Reads the rest of a response, and returns its length.
fn rest(mut stream: TcpStream) -> std::io::Result<usize> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).map(|_| rest.len() + 1)
}

#[test]
fn it_says_what_is_served_where_and_how() {
    let dir = Dir::in_memory();
    let server = Server::start(&dir, &["--threads", "2", "--no-listing"]);
    assert!(server.line.contains(dir.root()), "{}", server.line);
    for part in ["http://127.0.0.1:", "2 threads", "listing off", "sendfile"] {
        assert!(server.line.contains(part), "{}", server.line);
    }
    assert!(!server.url.ends_with(":0/"), "the port that was chosen");
    assert_eq!(server.stop().ok().stderr, "");
}

#[test]
fn every_address_is_shown_as_one_that_can_be_opened() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    for everywhere in [":0", "0.0.0.0:0"] {
        let server = Server::of(underpass(&["serve", dir.root(), "--listen", everywhere]));
        assert!(!server.line.contains("0.0.0.0"), "{}", server.line);
        assert_eq!(server.get("a").text(), "content");
        server.stop().ok();
    }
}

#[test]
fn each_number_of_threads_serves() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    for threads in ["1", "2", "5"] {
        let server = Server::start(&dir, &["--threads", threads]);
        for _ in 0..5 {
            assert_eq!(server.get("a").text(), "content");
        }
        server.stop().ok();
    }
}

#[test]
fn quiet_says_nothing() {
    let dir = Dir::in_memory();
    let socket = dir.path("socket");
    let listen = format!("unix:{socket}");
    let args = ["serve", dir.root(), "--quiet", "--listen", &listen];
    let running = Running::start(underpass(&args));
    while std::os::unix::net::UnixStream::connect(&socket).is_err() {
        std::thread::yield_now();
    }
    running.signal(Signal::INT);
    assert_eq!(running.finish().ok().stderr, "");
}

#[test]
fn a_download_under_way_is_seen_out() {
    let dir = Dir::in_memory();
    dir.file("big", &bytes(300, MORE_THAN_BUFFERS));
    for (signal, threads) in [(Signal::TERM, "1"), (Signal::INT, "2")] {
        let mut server = Server::start(&dir, &["--threads", threads]);
        let stream = download(&server);
        server.running.signal(signal);
        let line = server.running.line();
        assert!(line.contains("stopping: waiting up to 30 s"), "{line}");
        // No other client is accepted meanwhile.
        let host = server.url.strip_prefix("http://").unwrap();
        assert!(TcpStream::connect(host.trim_end_matches('/')).is_err());
        assert!(rest(stream).unwrap() > MORE_THAN_BUFFERS);
        server.running.finish().ok();
    }
}

/// A client that reads nothing for a while gets in the end what the last line says it was sent.
#[test]
fn what_is_cut_off_is_told_with_the_bytes_it_was_sent() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("big", &bytes(302, MORE_THAN_BUFFERS));
    let authority = Authority::new("authority");
    let pair = authority.pair("site", &["localhost", "127.0.0.1"]);
    let tls = [&pair.options()[..], &["--no-ktls"]].concat();
    let by = |options: &[&str], version| {
        cut_off(
            &dir,
            &authority.file,
            &[options, &["--drain", "10ms"]].concat(),
            version,
            false,
        );
        cut_off(&dir, &authority.file, options, version, true);
    };
    by(&[], "--http1.1");
    by(&tls, "--http1.1");
    by(&tls, "--http2");
}

/// Cuts off a download, after `--drain` or by a second signal.
fn cut_off(dir: &Dir, authority: &str, options: &[&str], version: &str, is_second: bool) {
    let mut server = Server::start(dir, options);
    // What curl cannot write, it does not read.
    let mut client = Command::new("curl")
        .args(["--silent", "--include", "--cacert", authority, version])
        .arg(format!("{}big", server.url))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut got = vec![0];
    let mut output = client.stdout.take().unwrap();
    output.read_exact(&mut got).unwrap();
    server.running.signal(Signal::TERM);
    if is_second {
        let line = server.running.line();
        assert!(line.contains("Ctrl-C ends at once"), "{line}");
        server.running.signal(Signal::TERM);
    }
    let outcome = server.running.finish();
    let (code, why) = if is_second {
        (143, "stopped at once: 1 connection still busy, and cut off")
    } else {
        (
            3,
            "stopped: 1 connection still busy after 10 ms (--drain), and cut off",
        )
    };
    let outcome = outcome.fails(code, &[why, " bytes of responses"]);
    let said = outcome.stderr.split("cut off after ").nth(1).unwrap();
    let said: usize = said
        .split(' ')
        .next()
        .unwrap()
        .replace(',', "")
        .parse()
        .unwrap();
    output.read_to_end(&mut got).unwrap();
    assert!(!client.wait().unwrap().success());
    if version == "--http1.1" {
        assert_eq!(got.len(), said, "{options:?}");
    } else {
        // Only whole frames are counted, and bodies only.
        assert!(got.len() < said + (16 << 10) + 1000, "{said} {}", got.len());
        assert!(said < MORE_THAN_BUFFERS, "{said}");
    }
}

#[test]
fn a_connection_without_a_request_does_not_hold_up_the_end() {
    let dir = Dir::in_memory();
    let server = Server::start(&dir, &["--drain", "50s"]);
    let host = server.url.strip_prefix("http://").unwrap();
    let mut idle = TcpStream::connect(host.trim_end_matches('/')).unwrap();
    // After one whole exchange, it is an idle connection.
    idle.write_all(b"GET /missing HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    idle.read_exact(&mut [0; 100]).unwrap();
    server.stop().ok();
}

#[test]
fn environment_variables_are_options() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file(".secret", b"content");
    let mut command = underpass(&["serve"]);
    command
        .env("UNDERPASS_DIR", dir.root())
        .env("UNDERPASS_LISTEN", "127.0.0.1:0")
        .env("UNDERPASS_HIDDEN", "1")
        .env("UNDERPASS_NO_LISTING", "yes")
        .env("UNDERPASS_THREADS", "1")
        .env("UNDERPASS_AUTH", "ann:secret");
    let server = Server::of(command);
    for part in ["1 thread,", "listing off", "with passwords"] {
        assert!(server.line.contains(part), "{}", server.line);
    }
    let url = format!("{}.secret", server.url);
    let reply = crate::support::curl(&["--user", "ann:secret", &url]);
    assert_eq!(reply.text(), "content");
    server.stop().ok();
}

/// A hard limit close to what the process needs otherwise used to leave room for one connection,
/// without any message.
#[test]
fn pitfall_35_a_low_limit_of_open_files_leaves_room_for_connections() {
    if !needs::tool("prlimit") {
        return;
    }
    let dir = Dir::in_memory();
    for number in 0..100 {
        // Each file is large enough to be kept open.
        dir.file(&format!("{number}"), &bytes(303, 20_000));
    }
    for (limit, at_once) in [(1024, 600), (128, 60), (64, 30)] {
        let nofile = format!("--nofile={limit}:{limit}");
        // Each thread has a share of its own.
        let serve = ["serve", dir.root(), "--listen=127.0.0.1:0", "--threads=1"];
        let command = underpass_by("prlimit", &[&nofile, "--"], &serve);
        let (complaint, server) = Server::complaining(command);
        let words = [
            "connections at once",
            &format!("only {limit} files"),
            "ulimit",
        ];
        assert!(
            words.iter().all(|word| complaint.contains(word)),
            "{complaint}"
        );
        let mut clients: Vec<_> = (0..at_once)
            .map(|at| download_of(&server, &format!("/{}", at % 100)))
            .collect();
        for client in &mut clients {
            // The rest of the head and the body.
            let mut whole = vec![0; 20_000];
            client.read_exact(&mut whole).unwrap();
        }
        server.stop().ok();
    }
}

/// Clients that keep their connections and send nothing do not keep others out.
#[test]
fn pitfall_35_idle_connections_make_room() {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    for options in [&[][..], &["--auth=ann:secret"], &["--threads=2"]] {
        let limits = [
            "--max-connections=4",
            "--keep-alive=1h",
            "--metrics=127.0.0.1:0",
        ];
        let mut server = Server::start(&dir, &[&limits, options].concat());
        let mut metrics = Metrics::of(&server.running.line());
        let _idle: Vec<_> = (0..50).map(|_| download_of(&server, "/a")).collect();
        let evicted = metrics.sample("underpass_http_connections_evicted_total");
        assert!(evicted >= 46, "{evicted}");
        assert!(metrics.sample("underpass_http_connections_open") <= 4);
        server.stop().ok();
    }
}

#[test]
fn pitfall_36_durations_beyond_all_clocks_are_only_long() {
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    let all = [
        "--keep-alive",
        "--head-timeout",
        "--body-timeout",
        "--send-timeout",
        "--drain",
        "--cache-valid",
    ];
    for time in ["9999999999999999999", "5000000000000000h"] {
        let options: Vec<_> = all.iter().flat_map(|option| [*option, time]).collect();
        let server = Server::start(&dir, &options);
        for _ in 0..2 {
            download_of(&server, "/a");
        }
        server.stop().ok();
    }
}
