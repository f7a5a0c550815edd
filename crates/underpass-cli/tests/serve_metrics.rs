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
            .starts_with("text/plain; version=0.0.4")
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

/// The system's Python, which has the modules that its packages bring.
const PYTHON: &str = "/usr/bin/python3";

/// Reads a page as Prometheus' client for Python does, and prints what it found: type and name of
/// each family, and its samples.
const PARSER: &str = r#"
import sys
page = sys.stdin.read()
if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families
else:
    from prometheus_client.parser import text_string_to_metric_families
for family in text_string_to_metric_families(page):
    assert family.documentation, family
    print(family.type, family.name, family.unit)
    for sample in family.samples:
        print(" ", sample.name, sample.value)
"#;

fn parsed(format: &str, page: &str) -> String {
    let mut parser = std::process::Command::new(PYTHON)
        .args(["-c", PARSER, format])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = parser.stdin.take().unwrap();
    input.write_all(page.as_bytes()).unwrap();
    drop(input);
    let output = parser.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{message}\n{page}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_formats_are_what_their_parsers_read() {
    if !needs::tool("curl") || !python_has_prometheus() {
        return;
    }
    let dir = Dir::in_memory();
    let mut server = Server::start(&dir, &["--metrics", "127.0.0.1:0"]);
    let metrics = server.metrics();
    server.get("missing");
    let url = format!("{metrics}metrics");
    let version = format!(
        "underpass_build_info{{version=\"{}\"}} 1\n",
        env!("CARGO_PKG_VERSION")
    );
    for (accept, kind, format) in [
        ("*/*", "text/plain; version=0.0.4; charset=utf-8", "text"),
        (
            "application/openmetrics-text;version=1.0.0,text/plain;q=0.5",
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            "openmetrics",
        ),
    ] {
        let page = curl(&["--header", &format!("Accept: {accept}"), &url]);
        assert_eq!(page.field("content-type"), Some(kind));
        assert_eq!(page.field("vary"), Some("accept"), "in small letters");
        assert_eq!(
            page.text().ends_with("# EOF\n"),
            format == "openmetrics",
            "{format}"
        );
        assert!(page.text().contains(&version));
        let families = parsed(format, page.text());
        let unit = |unit| if format == "openmetrics" { unit } else { "" };
        for family in [
            format!("counter process_cpu_seconds {}", unit("seconds")),
            format!("gauge process_resident_memory_bytes {}", unit("bytes")),
            format!("gauge process_virtual_memory_bytes {}", unit("bytes")),
            format!("gauge process_start_time_seconds {}", unit("seconds")),
            "gauge process_open_fds ".to_owned(),
            "gauge process_max_fds ".to_owned(),
            "counter underpass_http_requests ".to_owned(),
        ] {
            let is_family = |line: &str| line == family;
            assert!(families.lines().any(is_family), "{family}:\n{families}");
        }
        assert!(!families.contains("unknown "), "{families}");
    }
    assert_eq!(curl(&[&format!("{metrics}nothing")]).status, 404);
    assert_eq!(curl(&["--request", "POST", &url]).status, 405);
    server.stop().ok();
}

fn python_has_prometheus() -> bool {
    let mut python = std::process::Command::new(PYTHON);
    let import = python.args(["-c", "import prometheus_client.openmetrics.parser"]);
    import.output().is_ok_and(|it| it.status.success())
        || needs::lacking("python3-prometheus-client is not installed (scripts/install-test-tools)")
}

/// What the process says of itself is what the kernel says of it.
#[test]
fn the_process_is_measured() {
    if !needs::tool("curl") {
        return;
    }
    let dir = Dir::in_memory();
    let mut server = Server::start(&dir, &["--metrics", "127.0.0.1:0"]);
    let metrics = server.metrics();
    let page = curl(&[&format!("{metrics}metrics")]);
    let value = |name: &str| -> f64 {
        let mut lines = page.text().lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value
            .unwrap_or_else(|| panic!("no {name}"))
            .parse()
            .unwrap()
    };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    let age = now.as_secs_f64() - value("process_start_time_seconds");
    // The start of the machine is known to a second.
    assert!((-2.0..600.0).contains(&age), "{age} s old");
    assert!(value("process_cpu_seconds_total") >= 0.0);
    assert!(value("process_resident_memory_bytes") > 1e5);
    let (open, most) = (value("process_open_fds"), value("process_max_fds"));
    assert!(open > 3.0 && open < most, "{open} of {most}");
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
