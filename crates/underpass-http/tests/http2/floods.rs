//! Frames that cost a server much and a client little. Each flood ends its connection, and others
//! are served.

use std::time::Instant;

use crate::frames::*;
use crate::support::{Client, Server, Tree, bytes};

const ENHANCE_YOUR_CALM: u32 = 11;

/// More than any limit, also if a slow machine takes a minute to send it.
const MANY: u32 = 100_000;

/// How many frames a connection may send at once, and how many more each second.
const AT_ONCE: usize = 10_000;
const EACH_SECOND: usize = 1_000;

/// What is read of a connection at a time, and what it begins with.
const ONE_READ: usize = 64 << 10;

/// Sends frames without end, after a first one, and expects that the connection ends before many of
/// them were looked at. What comes behind a GOAWAY is only discarded.
#[track_caller]
fn floods(first: &[u8], next: impl Fn(u32) -> Vec<u8>) -> Vec<Frame> {
    let tree = Tree::of(&[("file", &bytes(1, 20_000))]);
    let server = Server::new(tree.serve());
    let begun = Instant::now();
    let mut client = Frames::new(&server, &[]);
    client.send(first);
    let reader = client.socket.try_clone().unwrap();
    let frames = std::thread::scope(|scope| {
        // Who floods a server may well read what it says.
        let reading = scope.spawn(|| Frames { socket: reader }.rest());
        for number in 0..MANY / 100 {
            let some: Vec<u8> = (0..100).flat_map(|at| next(number * 100 + at)).collect();
            if !client.offer(&some) {
                break;
            }
        }
        reading.join().unwrap()
    });
    let seconds = begun.elapsed().as_secs() as usize + 1;
    let most = (AT_ONCE + EACH_SECOND * seconds) * next(MANY).len() + first.len() + ONE_READ;
    let handled = server.stats.bytes_received.get();
    assert!(handled <= most as u64, "{handled} of {most} bytes");
    Client::get(&server, "/file", "").has_body(&bytes(1, 20_000));
    frames
}

#[track_caller]
fn ends_calmly(frames: &[Frame]) {
    let codes = frames.iter().filter(|frame| frame.kind == GOAWAY);
    let codes: Vec<_> = codes.map(Frame::code).collect();
    let last = frames.last();
    assert_eq!(codes, [ENHANCE_YOUR_CALM], "{}, {last:?}", frames.len());
}

#[test]
fn pitfall_50_pings() {
    ends_calmly(&floods(b"", |_| frame(PING, 0, 0, &[7; 8])));
}

#[test]
fn pitfall_50_settings() {
    ends_calmly(&floods(b"", |number| settings(&[(3, number)])));
}

#[test]
fn pitfall_50_acknowledgements_of_nothing() {
    let frames = floods(b"", |_| frame(SETTINGS, ACK, 0, b""));
    // One is already an error.
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
}

#[test]
fn pitfall_50_window_updates() {
    ends_calmly(&floods(b"", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])));
}

#[test]
fn pitfall_50_priorities_and_unknown_frames() {
    ends_calmly(&floods(b"", |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 9])));
    ends_calmly(&floods(b"", |_| frame(0xbe, 0, 0, b"x")));
}

#[test]
fn pitfall_50_rapid_resets() {
    let reset = 8_u32.to_be_bytes();
    let frames = floods(b"", |number| {
        let stream = 2 * number + 1;
        [ask(stream, "/file"), frame(RST_STREAM, 0, stream, &reset)].concat()
    });
    ends_calmly(&frames);
}

#[test]
fn pitfall_50_requests_that_have_to_be_reset() {
    let frames = floods(b"", |number| {
        let without_path = [GET, HTTP];
        frame(HEADERS, WHOLE, 2 * number + 1, &without_path)
    });
    ends_calmly(&frames);
}

/// More requests than the server takes at once: each is refused, and nothing is kept of it.
#[test]
fn pitfall_50_requests_above_the_limit() {
    let frames = floods(b"", |number| ask(2 * number + 1, "/file"));
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
}

#[test]
fn pitfall_50_data_of_nothing() {
    let head = frame(HEADERS, END_HEADERS, 1, &get("/file"));
    let frames = floods(&head, |_| frame(DATA, 0, 1, b""));
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
}

#[test]
fn pitfall_50_heads_without_end() {
    let head = frame(HEADERS, 0, 1, &get("/file"));
    let frames = floods(&head, |_| frame(CONTINUATION, 0, 1, &field("a", "b")));
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY));
}

/// A field of 4,000 bytes in the table, which each further byte repeats.
#[test]
fn pitfall_50_heads_that_grow_when_they_are_decoded() {
    let tree = Tree::of(&[("file", b"content")]);
    let server = Server::new(tree.serve());
    let mut client = Frames::new(&server, &[]);
    // Its length is 127 + 3,873.
    let mut repeated = vec![0x40, 1, b'a', 0x7f, 0xa1, 0x1e];
    repeated.extend([b'x'; 4000]);
    let bomb = [&get("/file")[..], &repeated, &[0xbe; 12_000]].concat();
    client.send(&frame(HEADERS, WHOLE, 1, &bomb));
    ends_calmly(&client.answers());
    // One that is only somewhat too large is answered.
    let large = field("a", &"x".repeat(120)).repeat(90);
    let large = [&get("/file")[..], &large, &large].concat();
    let (first, second) = large.split_at(16_000);
    let mut client = Frames::new(&server, &[]);
    client.send(&frame(HEADERS, END_STREAM, 1, first));
    client.send(&frame(CONTINUATION, END_HEADERS, 1, second));
    let answers = client.answers();
    let is_refused =
        |frame: &Frame| frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM);
    assert!(answers.iter().any(is_refused), "{answers:?}");
    assert!(!answers.iter().any(|frame| frame.is(DATA, 1)));
    client.send(&ask(3, "/file"));
    assert_eq!(client.body(3), b"content");
}
