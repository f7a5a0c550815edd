//! Bytes that are not a request, or that could be read as two requests. They get an error and a
//! close, or only a close, and are never served.

use std::time::Duration;

use underpass_http::Uploads;

use crate::support::{Client, Reply, Server, Settings, Tree, bytes, request};

const SERVED: &[u8] = b"the file's content";

/// The statuses that are allowed as the response to a case, before the connection is closed.
type Answers = &'static [u16];

const BAD: Answers = &[400];
const UNKNOWN: Answers = &[501];

fn tree() -> Tree {
    Tree::of(&[
        ("file", SERVED),
        ("large", &bytes(1, 300_000)),
        ("smuggled", SERVED),
    ])
}

fn server(tree: &Tree) -> Server {
    let settings = Settings::new(|_, timeouts| {
        // For cases that are only the beginning of a request.
        timeouts.head = Duration::from_millis(400);
        timeouts.body = Duration::from_millis(400);
    });
    Server::with(tree.serve().uploads(Uploads::default()), settings)
}

/// A request for a file, with other fields.
fn get(fields: &str) -> Vec<u8> {
    request("GET", "/file", fields).into_bytes()
}

fn put(fields: &str, body: &str) -> Vec<u8> {
    (request("PUT", "/put", fields) + body).into_bytes()
}

fn hosted(host: &str) -> Vec<u8> {
    format!("GET /file HTTP/1.1\r\nHost: {host}\r\n\r\n").into()
}

#[expect(clippy::too_many_lines, reason = "a table")]
fn cases() -> Vec<(&'static str, Answers, Vec<u8>)> {
    let smuggled = request("GET", "/smuggled", "");
    let chunks = "5\r\nhello\r\n0\r\n\r\n";
    let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n";
    let both_turned = "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n";
    let long = "x".repeat(40_000);
    let fields = "X-A: x\r\n".repeat(150);
    vec![
        (
            "length and chunked",
            BAD,
            put(both, &(chunks.to_owned() + &smuggled)),
        ),
        (
            "chunked and length",
            BAD,
            put(both_turned, &(chunks.to_owned() + &smuggled)),
        ),
        (
            "two lengths",
            BAD,
            put("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        ),
        (
            "a list of lengths",
            BAD,
            put("Content-Length: 5, 5\r\n", "hello"),
        ),
        ("a negative length", BAD, put("Content-Length: -1\r\n", "")),
        (
            "a signed length",
            BAD,
            put("Content-Length: +5\r\n", "hello"),
        ),
        (
            "a hexadecimal length",
            BAD,
            put("Content-Length: 0x5\r\n", "hello"),
        ),
        ("an empty length", BAD, put("Content-Length: \r\n", "hello")),
        (
            "an overflowing length",
            BAD,
            put("Content-Length: 18446744073709551616\r\n", ""),
        ),
        (
            "unknown coding",
            UNKNOWN,
            put("Transfer-Encoding: gzip\r\n", chunks),
        ),
        (
            "unknown coding, then chunked",
            UNKNOWN,
            put("Transfer-Encoding: gzip, chunked\r\n", chunks),
        ),
        (
            "chunked, then identity",
            BAD,
            put("Transfer-Encoding: chunked, identity\r\n", chunks),
        ),
        (
            "chunked twice",
            BAD,
            put(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                chunks,
            ),
        ),
        (
            "obscured coding",
            UNKNOWN,
            put("Transfer-Encoding: xchunked\r\n", chunks),
        ),
        (
            "a coding with a vertical tab",
            BAD,
            put("Transfer-Encoding: \u{b}chunked\r\n", chunks),
        ),
        (
            "space before the colon",
            BAD,
            put("Content-Length : 5\r\n", "hello"),
        ),
        (
            "tab before the colon",
            BAD,
            put("Transfer-Encoding\t: chunked\r\n", chunks),
        ),
        ("obs-fold", BAD, get("X-Folded: a\r\n b\r\n")),
        (
            "obs-fold of a coding",
            BAD,
            put("Transfer-Encoding:\r\n chunked\r\n", chunks),
        ),
        (
            "a folded first field",
            BAD,
            b"GET /file HTTP/1.1\r\n Host: a\r\n\r\n".to_vec(),
        ),
        (
            "bare LF in the head",
            BAD,
            b"GET /file HTTP/1.1\r\nHost: a\nX: y\r\n\r\n".to_vec(),
        ),
        (
            "bare LF everywhere",
            BAD,
            b"GET /file HTTP/1.1\nHost: a\n\n".to_vec(),
        ),
        (
            "bare LF at the end",
            BAD,
            b"GET /file HTTP/1.1\r\nHost: a\r\n\n".to_vec(),
        ),
        ("bare CR", BAD, get("X: a\rY: b\r\n")),
        ("a field without a colon", BAD, get("nonsense\r\n")),
        ("a field without a name", BAD, get(": value\r\n")),
        ("a name with a space", BAD, get("a b: c\r\n")),
        ("NUL in a value", BAD, get("X: a\0b\r\n")),
        ("NUL in a name", BAD, get("X\0: a\r\n")),
        (
            "NUL in the target",
            BAD,
            b"GET /fi\0le HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        ("no Host", BAD, b"GET /file HTTP/1.1\r\n\r\n".to_vec()),
        ("two Hosts", BAD, get("Host: b\r\n")),
        ("the same Host twice", BAD, get("Host: localhost\r\n")),
        ("a Host that is a dot", BAD, hosted(".")),
        ("a Host with an empty label", BAD, hosted("a..b")),
        ("a Host that is a port", BAD, hosted(":80")),
        ("a Host that is half an address", BAD, hosted("[::1")),
        ("a Host with too large a port", BAD, hosted("a:98777")),
        (
            "a Host that is a path",
            BAD,
            b"GET /file HTTP/1.1\r\nHost: a/b\r\n\r\n".to_vec(),
        ),
        (
            "a Host with a user",
            BAD,
            b"GET /file HTTP/1.1\r\nHost: u@a\r\n\r\n".to_vec(),
        ),
        (
            "a Host with a space",
            BAD,
            b"GET /file HTTP/1.1\r\nHost: a b\r\n\r\n".to_vec(),
        ),
        (
            "two users",
            BAD,
            get("Authorization: Basic YTpi\r\nAuthorization: Basic YTpi\r\n"),
        ),
        (
            "absolute-form without a Host",
            BAD,
            b"GET http://a/file HTTP/1.1\r\n\r\n".to_vec(),
        ),
        (
            "absolute-form and a bad Host",
            BAD,
            b"GET http://a/file HTTP/1.1\r\nHost: a..b\r\n\r\n".to_vec(),
        ),
        (
            "absolute-form of a bad host",
            BAD,
            b"GET http://a..b/file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "absolute-form with a user",
            BAD,
            b"GET http://u@a/file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "absolute-form of another scheme",
            BAD,
            b"GET ftp://a/file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "authority-form",
            BAD,
            b"GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "CONNECT",
            BAD,
            b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        ("GET *", BAD, b"GET * HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
        (
            "a target without its slash",
            BAD,
            b"GET file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "two spaces",
            BAD,
            b"GET  /file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "a space in the target",
            BAD,
            b"GET /fi le HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "a space before the method",
            BAD,
            b" GET /file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "no method",
            BAD,
            b"/file HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "HTTP/2.0",
            BAD,
            b"GET /file HTTP/2.0\r\nHost: a\r\n\r\n".to_vec(),
        ),
        (
            "http/1.1",
            BAD,
            b"GET /file http/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        ("HTTP/0.9", BAD, b"GET /file\r\n\r\n".to_vec()),
        (
            "a percent sign alone",
            BAD,
            b"GET /% HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        ),
        ("garbage", BAD, bytes(5, 500)),
        (
            "control characters",
            BAD,
            b"\x01\x02\x03\x04\r\n\r\n".to_vec(),
        ),
        ("an SSH client", BAD, b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        (
            "a TLS client",
            BAD,
            [
                &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
                &[7; 506],
            ]
            .concat(),
        ),
        (
            "almost the preface of HTTP/2",
            &[400],
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\n\n".to_vec(),
        ),
        (
            "a long target",
            &[414, 431],
            format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n").into(),
        ),
        ("a large field", &[431], get(&format!("X: {long}\r\n"))),
        ("too many fields", &[431], get(&fields)),
        (
            "a bad chunk size",
            BAD,
            put(
                "Transfer-Encoding: chunked\r\n",
                "xyz\r\nhello\r\n0\r\n\r\n",
            ),
        ),
        (
            "a negative chunk size",
            BAD,
            put("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "an overflowing chunk size",
            BAD,
            put(
                "Transfer-Encoding: chunked\r\n",
                "fffffffffffffffff\r\nhello\r\n",
            ),
        ),
        (
            "a chunk that is too long",
            BAD,
            put("Transfer-Encoding: chunked\r\n", "4\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "an empty chunk size",
            BAD,
            put("Transfer-Encoding: chunked\r\n", "\r\nhello\r\n0\r\n\r\n"),
        ),
        (
            "a chunk size with a bare LF",
            BAD,
            put("Transfer-Encoding: chunked\r\n", "5\nhello\r\n0\r\n\r\n"),
        ),
        (
            "a trailer with a bare LF",
            BAD,
            put(
                "Transfer-Encoding: chunked\r\n",
                "5\r\nhello\r\n0\r\nA: b\n",
            ),
        ),
        (
            "a trailer that is a bare LF",
            BAD,
            put("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\n"),
        ),
    ]
}

/// After `before` good responses, the connection must end as the case says.
#[track_caller]
fn ends_in(name: &str, answers: Answers, client: &mut Client) {
    match client.next("GET") {
        Some(reply) => {
            assert!(answers.contains(&reply.status), "{name}: {reply:?}");
            is_harmless(name, &reply);
        }
        None => panic!("{name}: no answer"),
    }
    let rest = client.rest();
    assert!(
        rest.is_empty(),
        "{name}: more comes: {}",
        rest.escape_ascii()
    );
}

#[track_caller]
fn is_harmless(name: &str, reply: &Reply) {
    let leaks = reply.body.windows(SERVED.len()).any(|it| it == SERVED);
    assert!(!leaks, "{name}: {reply:?}");
}

#[test]
fn bad_requests_are_refused() {
    let tree = tree();
    let server = server(&tree);
    for (name, end, stream) in cases() {
        let mut client = Client::new(&server);
        client.offer(&stream);
        ends_in(name, end, &mut client);
    }
    assert_eq!(tree.names(), ["file", "large", "smuggled"]);
}

#[test]
fn bad_requests_are_refused_however_they_are_cut() {
    let tree = tree();
    let server = server(&tree);
    for (name, end, stream) in cases() {
        let mut client = Client::new(&server);
        // 40,000 single bytes would take too long.
        let piece = if stream.len() > 5000 { 1009 } else { 1 };
        for piece in stream.chunks(piece) {
            if !client.offer(piece) {
                break;
            }
        }
        ends_in(name, end, &mut client);
    }
    assert_eq!(tree.names(), ["file", "large", "smuggled"]);
}

/// Bad requests after good ones: those are answered first, and completely.
#[test]
fn bad_requests_are_refused_behind_good_ones() {
    let tree = tree();
    let server = server(&tree);
    for (name, end, stream) in cases() {
        let mut client = Client::new(&server);
        let good = request("GET", "/file", "") + &request("GET", "/large", "");
        client.offer(&[good.as_bytes(), &stream].concat());
        client.reply("GET").has_status(200).has_body(SERVED);
        client
            .reply("GET")
            .has_status(200)
            .has_body(&bytes(1, 300_000));
        ends_in(name, end, &mut client);
    }
    assert_eq!(tree.names(), ["file", "large", "smuggled"]);
}

/// Bad requests after requests that were answered without hyper.
#[test]
fn bad_requests_are_refused_behind_hot_ones() {
    let tree = tree();
    let server = server(&tree);
    for (name, end, stream) in cases() {
        let mut client = Client::new(&server);
        for path in ["/file", "/large", "/file"] {
            client.send(request("GET", path, "").as_bytes());
            client.reply("GET").has_status(200);
        }
        client.offer(&stream);
        ends_in(name, end, &mut client);
    }
}

/// After any refusal, the next request is not answered.
#[test]
fn nothing_is_answered_behind_a_bad_request() {
    let tree = tree();
    let server = server(&tree);
    let behind = request("GET", "/smuggled", "").repeat(3);
    for (name, end, stream) in cases() {
        let mut client = Client::new(&server);
        client.offer(&[&stream, behind.as_bytes()].concat());
        ends_in(name, end, &mut client);
    }
}

/// Requests that are refused by the framing check, by our code behind hyper, and by hyper itself.
#[test]
fn refused_requests_are_counted() {
    let tree = tree();
    let server = server(&tree);
    for fields in ["Host: b\r\n", "Host: localhost\r\n"] {
        Client::get(&server, "/file", fields)
            .has_status(400)
            .has("connection", "close");
    }
    for head in [
        "GET /file HTTP/1.1\nHost: a\n\n",
        "GET /file HTTP/1.1\r\nHost : a\r\n\r\n",
    ] {
        let mut client = Client::new(&server);
        client.send(head.as_bytes());
        client
            .reply("GET")
            .has_status(400)
            .has("connection", "close");
    }
    Client::get(&server, "/file", "").has_status(200);
    assert_eq!(server.stop().requests_refused.get(), 4);
}

#[test]
fn limits_are_where_they_are_said_to_be() {
    let tree = tree();
    let settings = Settings::new(|limits, _| {
        limits.head_fields = 10;
        limits.head_bytes = 8192;
    });
    let server = Server::with(tree.serve(), settings);
    let fields = |count: usize| "X: y\r\n".repeat(count);
    // Host and Connection count as well.
    Client::get(&server, "/file", &fields(8)).has_status(200);
    Client::get(&server, "/file", &fields(9)).has_status(431);
    let sized = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes));
    Client::get(&server, "/file", &sized(8000)).has_status(200);
    Client::get(&server, "/file", &sized(8200)).has_status(431);
}

/// Harmless oddities that RFC 9112 allows.
#[test]
fn oddities_that_everybody_reads_alike_are_served() {
    let tree = tree();
    let server = server(&tree);
    for stream in [
        &b"\r\nGET /file HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..],
        b"GET /file HTTP/1.1\r\nHOST:a\r\nConnection:close\r\n\r\n",
        b"GET /file HTTP/1.1\r\nHost: \t a \t \r\nConnection: close\r\n\r\n",
        b"GET /file HTTP/1.1\r\nHost: [::1]:80\r\nConnection: close\r\nX:\r\n\r\n",
        b"GET /file HTTP/1.1\r\nHost:\r\nConnection: close\r\nX: \xff\xfe\r\n\r\n",
        b"GET /file HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"GET /file HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
        b"GET /file HTTP/1.1\r\nHost: a\r\nContent-Length:                                                    5\r\nConnection: close\r\n\r\na\nb\n\n",
        b"GET /file HTTP/1.1\r\nHost: a\r\nContent-Length: 00000000000000000000000000000000000005\r\nConnection: close\r\n\r\na\nb\n\n",
        b"GET /file HTTP/1.0\r\nHost: a\r\n\r\n",
        b"GET /file HTTP/1.2\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET http://a/file HTTP/1.1\r\nHost: b\r\nConnection: close\r\n\r\n",
        b"GET HTTPS://[::1]:80/file?a HTTP/1.1\r\nHost:\r\nConnection: close\r\n\r\n",
        b"GET http://a/file HTTP/1.0\r\n\r\n",
    ] {
        let mut client = Client::new(&server);
        client.send(stream);
        client.reply("GET").has_status(200).has_body(SERVED);
        client.is_ended();
    }
}
