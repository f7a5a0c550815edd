//! `serve --metrics`: what is counted, and whether the server is healthy.

use std::io::{Read, Write};
use std::net::TcpStream;

use rustix::process::Signal;

use crate::support::{Dir, MIB, MORE_THAN_BUFFERS, Metrics, Server, Stream, bytes, curl, needs};

/// The value of a sample with this full name.
fn sample(metrics: &str, name: &str) -> u64 {
    let page = curl(&[&format!("{metrics}metrics")]);
    assert!(
        page.field("content-type")
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    let mut lines = page.text().lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = value.unwrap_or_else(|| panic!("no {name} in\n{}", page.text()));
    value.parse().unwrap()
}

#[test]
fn what_was_asked_for_is_counted() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("big", &bytes(330, MIB));
    dir.file("a", b"content");
    let mut server = Server::start(&dir, &["--metrics", "127.0.0.1:0"]);
    let metrics = server.metrics();
    assert_eq!(server.get("big").body.len(), MIB);
    let sent = |route| {
        let name = format!("underpass_http_response_bytes_total{{route=\"{route}\"}}");
        sample(&metrics, &name)
    };
    assert_eq!(
        sent("sendfile"),
        MIB as u64,
        "the whole file, and nothing else"
    );
    assert!((100..1000).contains(&sent("write")), "the head");
    for path in ["a", "a", "a", "missing"] {
        server.get(path);
    }
    curl(&["--head", &format!("{}a", server.url)]);
    let requests = |status, method| {
        let labels = format!("{{status=\"{status}\",method=\"{method}\"}}");
        sample(&metrics, &format!("underpass_http_requests_total{labels}"))
    };
    assert_eq!(requests(200, "GET"), 4);
    assert_eq!(requests(404, "GET"), 1);
    assert_eq!(requests(200, "HEAD"), 1);
    let durations = "underpass_http_request_duration_seconds";
    assert_eq!(sample(&metrics, &format!("{durations}_count")), 6);
    assert_eq!(
        sample(&metrics, &format!("{durations}_bucket{{le=\"+Inf\"}}")),
        6
    );
    for (name, count) in [
        ("underpass_http_connections_accepted_total", 6),
        ("underpass_http_connections_timed_out_total", 0),
        ("underpass_http_truncated_total", 0),
        ("underpass_http_changed_total", 0),
        ("underpass_http_fallbacks_total{reason=\"refused\"}", 0),
    ] {
        assert_eq!(sample(&metrics, name), count, "{name}");
    }
    server.stop().ok();
}

#[test]
fn the_page_is_what_prometheus_reads() {
    if !needs::tool("curl") || !needs::tool("python3") {
        return;
    }
    let dir = Dir::in_memory();
    let mut server = Server::start(&dir, &["--metrics", "127.0.0.1:0"]);
    let metrics = server.metrics();
    server.get("missing");
    let page = curl(&[&format!("{metrics}metrics")]);
    assert!(page.text().ends_with("# EOF\n"));
    let version = format!(
        "underpass_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    assert!(page.text().contains(&version));
    for line in page.text().lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("underpass_"), "{line}");
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(curl(&[&format!("{metrics}nothing")]).status, 404);
    assert_eq!(
        curl(&["--request", "POST", &format!("{metrics}metrics")]).status,
        405
    );
    server.stop().ok();
}

#[test]
fn a_server_that_drains_says_so() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    dir.file("big", &bytes(331, MORE_THAN_BUFFERS));
    let mut server = Server::start(&dir, &["--metrics", "127.0.0.1:0"]);
    let metrics = server.metrics();
    let health = format!("{metrics}healthz");
    let well = curl(&[&health]);
    assert_eq!((well.status, well.text()), (200, "ok\n"));
    let host = server.url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host.trim_end_matches('/')).unwrap();
    stream
        .write_all(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    stream.read_exact(&mut [0]).unwrap();
    assert_eq!(sample(&metrics, "underpass_http_connections_open"), 1);
    server.running.signal(Signal::TERM);
    let line = server.running.line();
    assert!(line.contains("stopping"), "{line}");
    assert_eq!(curl(&[&health]).status, 503);
    stream.read_to_end(&mut Vec::new()).unwrap();
    server.running.finish().ok();
}

#[test]
fn without_a_descriptor_accepting_pauses_and_goes_on() {
    const PAUSES: &str = "underpass_http_accept_pauses_total";
    let dir = Dir::in_memory();
    dir.file("a", b"content");
    dir.file("big", &bytes(331, MORE_THAN_BUFFERS));
    let mut server = Server::start(&dir, &["--metrics", "127.0.0.1:0", "--threads", "1"]);
    let mut metrics = Metrics::of(&server.running.line());
    let place = server.url.replace("http", "tcp");
    let place = place.trim_end_matches('/');
    let ask = |client: &mut Stream| {
        let request = b"GET /a HTTP/1.1\r\nHost: it\r\n\r\n";
        client.write_all(request).unwrap();
    };
    let answered = |client: &mut Stream| {
        let mut got = Vec::new();
        while !got.ends_with(b"\r\n\r\ncontent") {
            got.extend(client.read_exactly(1));
        }
        assert!(got.starts_with(b"HTTP/1.1 200 "));
    };
    let mut first = Stream::connect(place);
    first
        .write_all(b"GET /big HTTP/1.1\r\nHost: it\r\n\r\n")
        .unwrap();
    first.read_exactly(1);
    assert_eq!(metrics.sample(PAUSES), 0);

    let usual = server.running.forbid_descriptors();
    let mut second = Stream::connect(place);
    ask(&mut second);
    for pauses in 0..3 {
        metrics.await_more_than(PAUSES, pauses);
    }
    // Open connections continue.
    first.read_exactly(MORE_THAN_BUFFERS);
    server.running.limit_descriptors(usual);
    answered(&mut second);
    // Idle connections make room.
    server.running.forbid_descriptors();
    let mut third = Stream::connect(place);
    ask(&mut third);
    answered(&mut third);
    server.stop().ok();
}
