//! What RFC 9113 forbids, and what comes of it.

use crate::frames::*;
use crate::support::{Client, Server, Tree};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED: u32 = 7;
const COMPRESSION: u32 = 9;

/// What ends, and with which code.
#[derive(Clone, Copy, Debug)]
enum End {
    Connection(&'static [u32]),
    /// The stream. A server may take an error of a stream for one of the connection.
    Stream(&'static [u32]),
    /// The request is answered with this status.
    Status(&'static str),
    /// h2 is lenient here: nothing happens to others.
    Lenient,
}

use End::{Connection, Lenient, Status, Stream};

type Case = (&'static str, End, Vec<u8>);

/// A head with these fields behind the pseudo-header fields.
fn with(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = get("/");
    for (name, value) in fields {
        head.extend(field(name, value));
    }
    head
}

fn headers(block: &[u8]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, block)
}

/// A request whose body is to come.
fn post(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut head = [&[0x83, HTTP, ROOT][..], &field(":authority", "localhost")].concat();
    for (name, value) in fields {
        head.extend(field(name, value));
    }
    frame(HEADERS, END_HEADERS, 1, &head)
}

fn join(frames: &[Vec<u8>]) -> Vec<u8> {
    frames.concat()
}

fn frames_of_wrong_sizes() -> Vec<Case> {
    let wrong = |kind, stream, len| frame(kind, 0, stream, &vec![0; len]);
    // h2 says PROTOCOL_ERROR for most of these.
    let size = Connection(&[FRAME_SIZE, PROTOCOL]);
    let after = |frame: Vec<u8>| join(&[post(&[]), frame]);
    vec![
        ("DATA above the limit", size, after(wrong(DATA, 1, 16_385))),
        ("HEADERS above the limit", size, wrong(HEADERS, 1, 16_385)),
        ("SETTINGS above the limit", size, wrong(SETTINGS, 0, 16_386)),
        (
            "an unknown frame above the limit",
            size,
            wrong(0xbe, 0, 16_385),
        ),
        ("SETTINGS of 5 bytes", size, wrong(SETTINGS, 0, 5)),
        ("SETTINGS of 7 bytes", size, wrong(SETTINGS, 0, 7)),
        (
            "an acknowledgement with settings",
            size,
            frame(SETTINGS, ACK, 0, &[0; 6]),
        ),
        ("PING of 7 bytes", size, wrong(PING, 0, 7)),
        ("PING of 9 bytes", size, wrong(PING, 0, 9)),
        ("PING of nothing", size, wrong(PING, 0, 0)),
        (
            "RST_STREAM of 3 bytes",
            size,
            after(wrong(RST_STREAM, 1, 3)),
        ),
        (
            "RST_STREAM of 5 bytes",
            size,
            after(wrong(RST_STREAM, 1, 5)),
        ),
        ("WINDOW_UPDATE of 3 bytes", size, wrong(WINDOW_UPDATE, 0, 3)),
        ("WINDOW_UPDATE of 5 bytes", size, wrong(WINDOW_UPDATE, 0, 5)),
        (
            "PRIORITY of 4 bytes",
            Stream(&[FRAME_SIZE, PROTOCOL]),
            after(wrong(PRIORITY, 1, 4)),
        ),
        ("GOAWAY of 7 bytes", size, wrong(GOAWAY, 0, 7)),
    ]
}

fn frames_of_wrong_streams() -> Vec<Case> {
    let protocol = Connection(&[PROTOCOL]);
    let closed = Connection(&[STREAM_CLOSED, PROTOCOL]);
    let update = 1_u32.to_be_bytes();
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    let next = |stream| frame(HEADERS, WHOLE, stream, &get("/"));
    vec![
        ("DATA on stream 0", protocol, frame(DATA, 0, 0, b"x")),
        ("DATA on an idle stream", protocol, frame(DATA, 0, 1, b"x")),
        (
            "DATA on a server's stream",
            protocol,
            frame(DATA, 0, 2, b"x"),
        ),
        (
            "HEADERS on stream 0",
            protocol,
            frame(HEADERS, WHOLE, 0, &get("/")),
        ),
        ("HEADERS on a server's stream", protocol, next(2)),
        (
            "HEADERS on a lower stream",
            closed,
            join(&[next(5), next(3)]),
        ),
        (
            "PRIORITY on stream 0",
            protocol,
            frame(PRIORITY, 0, 0, &[0; 5]),
        ),
        ("RST_STREAM on stream 0", protocol, reset(0)),
        ("RST_STREAM on an idle stream", protocol, reset(1)),
        ("SETTINGS on a stream", protocol, frame(SETTINGS, 0, 1, b"")),
        ("PING on a stream", protocol, frame(PING, 0, 1, &[0; 8])),
        ("GOAWAY on a stream", protocol, frame(GOAWAY, 0, 1, &[0; 8])),
        (
            "WINDOW_UPDATE on an idle stream",
            protocol,
            frame(WINDOW_UPDATE, 0, 1, &update),
        ),
        (
            "CONTINUATION on stream 0",
            protocol,
            frame(CONTINUATION, END_HEADERS, 0, &get("/")),
        ),
        (
            "CONTINUATION on an idle stream",
            protocol,
            frame(CONTINUATION, END_HEADERS, 1, b""),
        ),
        (
            "CONTINUATION behind a complete head",
            protocol,
            join(&[post(&[]), frame(CONTINUATION, END_HEADERS, 1, b"")]),
        ),
        (
            "PUSH_PROMISE",
            protocol,
            join(&[
                post(&[]),
                frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2, 0x82]),
            ]),
        ),
        (
            "DATA behind the end of a request",
            Stream(&[STREAM_CLOSED, PROTOCOL]),
            join(&[frame(HEADERS, WHOLE, 1, &get("/")), frame(DATA, 0, 1, b"x")]),
        ),
        (
            "HEADERS behind the end of a request",
            Stream(&[STREAM_CLOSED, PROTOCOL]),
            join(&[frame(HEADERS, WHOLE, 1, &get("/large")), next(1)]),
        ),
        (
            "DATA behind the client's reset",
            Stream(&[STREAM_CLOSED]),
            join(&[post(&[]), reset(1), frame(DATA, 0, 1, b"x")]),
        ),
        (
            "HEADERS behind the client's reset",
            Stream(&[STREAM_CLOSED, PROTOCOL]),
            join(&[post(&[]), reset(1), next(1)]),
        ),
    ]
}

/// A head that is not complete, and a frame that does not continue it.
fn interrupted_heads() -> Vec<Case> {
    let begun = frame(HEADERS, END_STREAM, 1, &get("/"));
    let case =
        |name, frame: Vec<u8>| (name, Connection(&[PROTOCOL]), join(&[begun.clone(), frame]));
    vec![
        case("a head, and DATA", frame(DATA, 0, 1, b"x")),
        case("a head, and HEADERS", frame(HEADERS, WHOLE, 3, &get("/"))),
        case(
            "a head, and HEADERS of the same stream",
            frame(HEADERS, WHOLE, 1, &get("/")),
        ),
        case("a head, and PRIORITY", frame(PRIORITY, 0, 1, &[0; 5])),
        case("a head, and RST_STREAM", frame(RST_STREAM, 0, 1, &[0; 4])),
        case("a head, and SETTINGS", frame(SETTINGS, 0, 0, b"")),
        case("a head, and PING", frame(PING, 0, 0, &[0; 8])),
        case("a head, and GOAWAY", frame(GOAWAY, 0, 0, &[0; 8])),
        case(
            "a head, and WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        ),
        case(
            "a head, and another's CONTINUATION",
            frame(CONTINUATION, END_HEADERS, 3, b""),
        ),
        case("a head, and an unknown frame", frame(0xbe, 0, 0, b"")),
    ]
}

fn padding() -> Vec<Case> {
    let protocol = Connection(&[PROTOCOL]);
    let padded = |flags, payload: &[u8]| frame(HEADERS, WHOLE | flags, 1, payload);
    let data = |payload: &[u8]| join(&[post(&[]), frame(DATA, PADDED, 1, payload)]);
    vec![
        (
            "DATA that is less than its padding",
            protocol,
            data(&[5, 0, 0]),
        ),
        (
            "DATA that is only its padding's length",
            Lenient,
            data(&[0]),
        ),
        ("DATA with padding of its own length", protocol, data(&[1])),
        (
            "DATA without its padding's length",
            Connection(&[PROTOCOL, FRAME_SIZE]),
            data(b""),
        ),
        (
            "HEADERS that are less than their padding",
            protocol,
            padded(PADDED, &[200, 0x82]),
        ),
        (
            "HEADERS without their padding's length",
            Connection(&[PROTOCOL, FRAME_SIZE]),
            padded(PADDED, b""),
        ),
        (
            "HEADERS without their priority",
            Connection(&[PROTOCOL, FRAME_SIZE]),
            padded(WITH_PRIORITY, &[0, 0]),
        ),
        (
            "HEADERS that depend on themselves",
            Stream(&[PROTOCOL]),
            padded(WITH_PRIORITY, &[&[0, 0, 0, 1, 0][..], &get("/")].concat()),
        ),
    ]
}

fn compression() -> Vec<Case> {
    // h2 says PROTOCOL_ERROR for these.
    let case = |name, block: &[u8]| (name, Connection(&[COMPRESSION, PROTOCOL]), headers(block));
    let behind = |more: &[u8]| [&get("/")[..], more].concat();
    vec![
        case("index 0", &behind(&[0x80])),
        case("an index above the table", &behind(&[0xff, 0x80, 0x01])),
        case(
            "a name above the table",
            &behind(&[0x7f, 0x80, 0x01, 1, b'x']),
        ),
        case("an endless integer", &behind(&[0xff; 12])),
        case("a literal without its value", &behind(&[0x00, 1, b'a'])),
        case(
            "a literal without all of its value",
            &behind(&[0x00, 1, b'a', 9, b'x']),
        ),
        case(
            "a literal that takes what follows it",
            &behind(&[0x00, 1, b'a', 4]),
        ),
        case("half an integer", &behind(&[0xff])),
        case(
            "a table above the limit",
            &[&[0x3f, 0xe1, 0xff, 0x03][..], &get("/")].concat(),
        ),
        case("a size of the table behind a field", &behind(&[0x20])),
        case(
            "Huffman's end of string",
            &behind(&[0x00, 1, b'a', 0x84, 0xff, 0xff, 0xff, 0xff]),
        ),
        case(
            "Huffman padding of a byte",
            &behind(&[0x00, 1, b'a', 0x82, 0x1f, 0xff]),
        ),
    ]
}

fn malformed_requests() -> Vec<Case> {
    let case = |name, block: Vec<u8>| (name, Stream(&[PROTOCOL]), headers(&block));
    let bare = |fields: &[&[u8]]| fields.concat();
    let host = field(":authority", "localhost");
    vec![
        case("no method", bare(&[&[HTTP, ROOT], &host])),
        case("no scheme", bare(&[&[GET, ROOT], &host])),
        case("no path", bare(&[&[GET, HTTP], &host])),
        case("an empty path", get("")),
        case("two methods", bare(&[&[GET, GET, HTTP, ROOT], &host])),
        case("two schemes", bare(&[&[GET, HTTP, HTTP, ROOT], &host])),
        case("two paths", bare(&[&[GET, HTTP, ROOT, ROOT], &host])),
        case("two authorities", bare(&[&[GET, HTTP, ROOT], &host, &host])),
        case("an unknown pseudo-header field", with(&[(":other", "x")])),
        case("a status", with(&[(":status", "200")])),
        case(
            "a pseudo-header field behind others",
            bare(&[&[GET, HTTP], &field("a", "b"), &[ROOT], &host]),
        ),
        case("capitals", with(&[("Accept", "x")])),
        case("a name with a space", with(&[("a b", "x")])),
        case("a name with a colon", with(&[("a:b", "x")])),
        ("an empty name", Lenient, headers(&with(&[("", "x")]))),
        case("a value with a line's end", with(&[("a", "x\r\nb: c")])),
        case("a value with LF", with(&[("a", "x\ny")])),
        case("a value with NUL", with(&[("a", "x\0y")])),
        case("Connection", with(&[("connection", "close")])),
        case("Keep-Alive", with(&[("keep-alive", "timeout=5")])),
        case("Proxy-Connection", with(&[("proxy-connection", "close")])),
        case(
            "Transfer-Encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        case("Upgrade", with(&[("upgrade", "h2c")])),
        case("TE other than trailers", with(&[("te", "gzip")])),
        case(
            "a method with a space",
            bare(&[&field(":method", "G T"), &[HTTP, ROOT], &host]),
        ),
        case(
            "a CONNECT with a path",
            bare(&[&field(":method", "CONNECT"), &[ROOT, HTTP], &host]),
        ),
    ]
}

fn refused_requests() -> Vec<Case> {
    let to = |authority: &str| [&[GET, HTTP, ROOT][..], &field(":authority", authority)].concat();
    let case = |name, block: &[u8]| (name, Status("400"), headers(block));
    vec![
        case(
            "another Host than the authority",
            &with(&[("host", "other")]),
        ),
        case("an authority with a user", &to("user@localhost")),
        case("no authority", &[GET, HTTP, ROOT]),
        case(
            "two Authorizations",
            &with(&[("authorization", "a"), ("authorization", "b")]),
        ),
        (
            "too many fields",
            Status("431"),
            headers(&with(&[("a", "b"); 101])),
        ),
    ]
}

fn bodies() -> Vec<Case> {
    let two = ("content-length", "2");
    let data = |flags, content: &[u8]| frame(DATA, flags, 1, content);
    let trailers = |flags, fields: &[u8]| frame(HEADERS, END_HEADERS | flags, 1, fields);
    let protocol = Stream(&[PROTOCOL]);
    vec![
        (
            "less content than announced",
            protocol,
            join(&[post(&[two]), data(END_STREAM, b"x")]),
        ),
        (
            "more content than announced",
            protocol,
            join(&[post(&[two]), data(0, b"xyz")]),
        ),
        (
            "no content, and some is announced",
            protocol,
            headers(&with(&[two])),
        ),
        (
            "two lengths",
            protocol,
            join(&[
                post(&[two, ("content-length", "3")]),
                data(END_STREAM, b"xy"),
            ]),
        ),
        (
            "a length that is no number",
            protocol,
            post(&[("content-length", "2x")]),
        ),
        (
            "trailers that do not end",
            protocol,
            join(&[post(&[]), trailers(0, &field("a", "b"))]),
        ),
        (
            "a pseudo-header field in trailers",
            Lenient,
            join(&[post(&[]), trailers(END_STREAM, &[GET])]),
        ),
    ]
}

fn settings_and_windows() -> Vec<Case> {
    let set = |key, value| settings(&[(key, value)]);
    let update = |stream, by: u32| frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes());
    let large = || ask(1, "/large");
    vec![
        ("ENABLE_PUSH of 2", Connection(&[PROTOCOL]), set(2, 2)),
        (
            "INITIAL_WINDOW_SIZE of 2^31",
            Connection(&[FLOW_CONTROL, PROTOCOL]),
            set(4, 1 << 31),
        ),
        (
            "MAX_FRAME_SIZE of 16,383",
            Connection(&[PROTOCOL]),
            set(5, 16_383),
        ),
        (
            "MAX_FRAME_SIZE of 2^24",
            Connection(&[PROTOCOL]),
            set(5, 1 << 24),
        ),
        (
            "ENABLE_CONNECT_PROTOCOL of 2",
            Connection(&[PROTOCOL]),
            set(8, 2),
        ),
        ("an increment of 0", Connection(&[PROTOCOL]), update(0, 0)),
        (
            "a stream's increment of 0",
            Stream(&[PROTOCOL]),
            join(&[large(), update(1, 0)]),
        ),
        (
            "a window above 2^31 - 1",
            Connection(&[FLOW_CONTROL]),
            update(0, (1 << 31) - 1),
        ),
        (
            "a stream's window above 2^31 - 1",
            Stream(&[FLOW_CONTROL]),
            join(&[large(), update(1, (1 << 31) - 1)]),
        ),
        (
            "windows above 2^31 - 1 by a setting",
            Connection(&[FLOW_CONTROL]),
            join(&[large(), update(1, 1 << 30), set(4, (1 << 31) - 1)]),
        ),
        ("more streams than allowed", Stream(&[REFUSED, PROTOCOL]), {
            let requests =
                (0..9).map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, &get("/")));
            requests.collect::<Vec<_>>().concat()
        }),
    ]
}

#[test]
fn violations_end_what_they_must_and_nothing_else() {
    let tree = Tree::of(&[("large", &crate::support::bytes(1, 1_000_000))]);
    let mut settings = crate::support::Settings::default();
    settings.limits = settings.limits.streams(8);
    let server = Server::with(tree.serve(), settings);
    let tables = [
        frames_of_wrong_sizes(),
        frames_of_wrong_streams(),
        interrupted_heads(),
        padding(),
        compression(),
        malformed_requests(),
        refused_requests(),
        bodies(),
        settings_and_windows(),
    ];
    let mut wrong = Vec::new();
    let mut count = 0;
    for (name, end, bytes) in tables.into_iter().flatten() {
        count += 1;
        let mut client = Frames::new(&server, &[]);
        client.offer(&bytes);
        let answers = client.answers();
        if !is_right(end, &answers) {
            let shown = answers
                .iter()
                .map(|it| (it.kind, it.stream, &it.payload[..it.payload.len().min(20)]));
            wrong.push(format!(
                "{name}: {end:?}, not {:?}",
                shown.collect::<Vec<_>>()
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 80, "{count}");
    Client::get(&server, "/large", "Range: bytes=0-9\r\n").has_status(206);
}

fn is_right(end: End, answers: &[Frame]) -> bool {
    let with = |kind, codes: &[u32]| {
        let mut frames = answers.iter().filter(|frame| frame.kind == kind);
        frames.any(|frame| codes.contains(&frame.code()))
    };
    match end {
        Connection(codes) => with(GOAWAY, codes),
        Stream(codes) => with(RST_STREAM, codes) || with(GOAWAY, codes),
        Status(status) => answers.iter().any(|frame| has_status(frame, status)),
        Lenient => !with(GOAWAY, &[PROTOCOL]),
    }
}

/// Whether these are the headers of a response with this status, which may be indexed.
fn has_status(frame: &Frame, status: &str) -> bool {
    let indexed = [("200", 0x88), ("206", 0x8a), ("400", 0x8c), ("404", 0x8d)];
    let index = indexed.iter().find(|(its, _)| *its == status);
    let literal = [&[0x48, status.len() as u8][..], status.as_bytes()].concat();
    // Digits in Huffman's code: `431`.
    let coded = [0x48, 0x83, 0x68, 0x0c, 0xff];
    frame.kind == HEADERS
        && (index.is_some_and(|(_, index)| frame.payload.first() == Some(index))
            || frame.payload.starts_with(&literal)
            || status == "431" && frame.payload.starts_with(&coded[..2]))
}
