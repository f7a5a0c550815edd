//! Streams: how they end, alone and with their connection, and what is told of them.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use underpass_http::{Exchange, Observe, Uploads};

use crate::frames::*;
use crate::support::{Client, Server, Settings, Tree, bytes};

const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const CANCEL: u32 = 8;

/// The window that clients begin with.
const WINDOW: usize = 65_535;

const SHORT: Duration = Duration::from_millis(300);

fn grant(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// Reads until the window is used up.
#[track_caller]
fn fill_window(client: &mut Frames) -> Vec<u8> {
    let mut body = Vec::new();
    while body.len() < WINDOW {
        let frame = client.next().expect("a frame");
        if frame.kind == DATA {
            body.extend(frame.payload);
        }
    }
    body
}

/// The window of the connection is just large enough for both responses: what was never sent of the
/// first one is given back.
#[test]
fn a_truncated_file_ends_its_stream_and_no_other() {
    // What waits in hyper is all of the rest, some of it, or none.
    for len in [64 << 10, 66_000, 300_000, 3_000_000] {
        let (content, other) = (bytes(1, len), bytes(2, 100_000));
        let tree = Tree::of(&[("file", &content), ("other", &other)]);
        let server = Server::new(tree.serve());
        let mut client = Frames::new(&server, &[]);
        client.send(&ask(1, "/file"));
        let body = fill_window(&mut client);
        assert!(body == content[..body.len()]);
        let file = fs::File::options().write(true).open(tree.path("file"));
        file.unwrap().set_len(10_000).unwrap();
        client.send(&[grant(1, 1 << 20), grant(0, 110_000)].concat());
        let frames = client.until(|frame| frame.is(RST_STREAM, 1));
        let (reset, before) = frames.split_last().unwrap();
        assert!(
            [INTERNAL_ERROR, CANCEL].contains(&reset.code()),
            "{reset:?}"
        );
        assert!(
            !before.iter().any(|frame| frame.is(DATA, 1)),
            "zeros were sent"
        );
        client.send(&[grant(0, 1), ask(3, "/other"), grant(3, 1 << 20)].concat());
        assert!(client.body(3) == other);
        assert!(server.stop().truncated.get() > 0);
    }
}

#[test]
fn a_stream_whose_client_takes_nothing_is_cut_alone() {
    let tree = Tree::of(&[("file", &bytes(1, 1_000_000)), ("small", b"content")]);
    let settings = Settings::new(|_, timeouts| timeouts.send = SHORT);
    let server = Server::with(tree.serve(), settings);
    let mut client = Frames::new(&server, &[(4, 10)]);
    client.send(&ask(1, "/file"));
    let frames = client.until(|frame| frame.is(RST_STREAM, 1));
    assert_eq!(frames.last().unwrap().code(), CANCEL);
    client.send(&ask(3, "/small"));
    assert_eq!(client.body(3), b"content");
    assert_eq!(server.stop().streams_timed_out.get(), 1);
}

#[test]
fn an_upload_that_does_not_come_is_cut_alone() {
    let tree = Tree::of(&[("small", b"content")]);
    let settings = Settings::new(|_, timeouts| timeouts.body = SHORT);
    let server = Server::with(tree.serve().uploads(Uploads::default()), settings);
    let mut client = Frames::new(&server, &[]);
    let head = [
        &field(":method", "PUT")[..],
        &[HTTP],
        &field(":path", "/new"),
        &field(":authority", "localhost"),
        &field("content-length", "9"),
    ];
    client.send(&frame(HEADERS, END_HEADERS, 1, &head.concat()));
    client.until(|frame| frame.is(RST_STREAM, 1));
    client.send(&ask(3, "/small"));
    assert_eq!(client.body(3), b"content");
    assert_eq!(tree.names(), ["small"]);
}

#[test]
fn an_idle_client_is_told_that_it_must_go() {
    let tree = Tree::of(&[("small", b"content")]);
    let settings = Settings::new(|_, timeouts| timeouts.keep_alive = SHORT);
    let server = Server::with(tree.serve(), settings);
    let mut client = Frames::new(&server, &[]);
    client.send(&ask(1, "/small"));
    assert_eq!(client.body(1), b"content");
    let frames = client.rest();
    let last = frames.last().expect("a last frame");
    assert_eq!((last.kind, last.code()), (GOAWAY, NO_ERROR));
    // Streams up to 1 were looked at.
    assert_eq!(last.payload[..4], [0, 0, 0, 1]);
}

#[test]
fn heads_that_do_not_come_end_the_connection() {
    let tree = Tree::of(&[("small", b"content")]);
    let settings = Settings::new(|_, timeouts| timeouts.head = SHORT);
    let server = Server::with(tree.serve(), settings);
    for part in [
        frame(HEADERS, END_STREAM, 1, &get("/small")),
        ask(1, "/small")[..12].to_vec(),
        ask(1, "/small")[..5].to_vec(),
    ] {
        let mut client = Frames::new(&server, &[]);
        client.send(&part);
        let frames = client.rest();
        assert!(
            frames.iter().any(|frame| frame.kind == GOAWAY),
            "{frames:?}"
        );
    }
    for part in ["", "PRI", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = Frames::silent(&server);
        client.send(part.as_bytes());
        let frames = client.rest();
        assert!(
            !frames.iter().any(|frame| frame.kind == HEADERS),
            "{part:?}: {frames:?}"
        );
    }
}

#[test]
fn a_server_that_stops_lets_streams_end() {
    let content = bytes(1, 200_000);
    let tree = Tree::of(&[("file", &content)]);
    let mut server = Server::new(tree.serve());
    let mut client = Frames::new(&server, &[]);
    client.send(&ask(1, "/file"));
    let mut body = fill_window(&mut client);
    server.ask_to_stop();
    let frames = client.until(|frame| frame.kind == PING);
    assert!(
        frames
            .iter()
            .any(|frame| frame.kind == GOAWAY && frame.code() == NO_ERROR)
    );
    client.send(&frame(PING, ACK, 0, &frames.last().unwrap().payload));
    client.until(|frame| frame.kind == GOAWAY);
    assert!(!server.has_stopped());
    client.send(&[grant(1, 1 << 20), grant(0, 1 << 20)].concat());
    body.extend(client.body(1));
    assert!(body == content);
    assert!(client.rest().is_empty());
    drop(client);
    assert_eq!(server.stop().connections_cut.get(), 0);
}

#[test]
fn without_h2c_the_preface_is_a_bad_request() {
    let tree = Tree::of(&[("small", b"content")]);
    let settings = Settings {
        without_h2c: true,
        ..Settings::default()
    };
    let server = Server::with(tree.serve(), settings);
    let mut client = Client::new(&server);
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    client.reply("GET").has_status(400);
}

#[derive(Default)]
struct Told(Mutex<Vec<Exchange>>);

impl Observe for Told {
    fn exchange(&self, exchange: &Exchange) {
        self.0.lock().unwrap().push(exchange.clone());
    }
}

#[test]
fn an_observer_is_told_of_each_stream() {
    let tree = Tree::of(&[("file", &bytes(1, 200_000)), ("small", b"content")]);
    let told = Arc::new(Told::default());
    let settings = Settings {
        observer: Some(Arc::clone(&told) as Arc<dyn Observe>),
        ..Settings::default()
    };
    let server = Server::with(tree.serve(), settings);
    // No stream takes all of the connection's window.
    let mut client = Frames::new(&server, &[(4, 1_000)]);
    client.send(&[ask(1, "/file"), ask(3, "/small"), ask(5, "/missing")].concat());
    let (mut open, mut has_begun) = (vec![3, 5], false);
    while !(open.is_empty() && has_begun) {
        let frame = client.next().expect("a frame");
        has_begun |= frame.is(HEADERS, 1);
        open.retain(|stream| !frame.ends_stream(*stream));
    }
    client.send(&frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()));
    drop(client);
    server.stop();
    let mut told = told.0.lock().unwrap();
    told.sort_by_key(|exchange| exchange.stream);
    let short = told.iter().map(|exchange| {
        let head = exchange.request.as_ref().unwrap();
        let status = exchange.status.map_or(0, |status| status.as_u16());
        let said = (head.uri.to_string(), format!("{:?}", head.version));
        (exchange.stream, said, status, exchange.complete)
    });
    let said = |path: &str| (path.to_owned(), "HTTP/2.0".to_owned());
    assert_eq!(
        short.collect::<Vec<_>>(),
        [
            (Some(1), said("/file"), 200, false),
            (Some(3), said("/small"), 200, true),
            (Some(5), said("/missing"), 404, true),
        ]
    );
    assert_eq!(told[1].bytes, 7);
}

/// A request's own field of the name that carries the stream's number stays.
#[test]
fn the_field_that_carries_the_number_is_the_servers() {
    let tree = Tree::of(&[("small", b"content")]);
    let told = Arc::new(Told::default());
    let settings = Settings {
        observer: Some(Arc::clone(&told) as Arc<dyn Observe>),
        ..Settings::default()
    };
    let server = Server::with(tree.serve(), settings);
    let mut client = Frames::new(&server, &[]);
    let head = [get("/small"), field("proxy-authenticate", "7")].concat();
    client.send(&frame(HEADERS, WHOLE, 1, &head));
    assert_eq!(client.body(1), b"content");
    // The same head in three parts, cut anywhere.
    for at in 1..head.len() {
        let stream = 2 * at as u32 + 1;
        let (first, rest) = head.split_at(at);
        let (middle, last) = rest.split_at(rest.len() / 2);
        client.send(&frame(HEADERS, END_STREAM, stream, first));
        client.send(&frame(CONTINUATION, 0, stream, middle));
        client.send(&frame(CONTINUATION, END_HEADERS, stream, last));
        assert_eq!(client.body(stream), b"content");
    }
    // And byte by byte.
    for byte in ask(1001, "/small") {
        client.send(&[byte]);
    }
    assert_eq!(client.body(1001), b"content");
    drop(client);
    server.stop();
    let told = told.0.lock().unwrap();
    assert!(
        told.iter()
            .all(|exchange| exchange.complete && exchange.stream.is_some())
    );
    assert_eq!(told.last().unwrap().stream, Some(1001));
}
