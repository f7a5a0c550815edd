//! Byte ranges (RFC 9110 section 14).

use std::ops::Range;

use crate::support::{Client, Reply, Server, Tree, bytes, curl, needs};

/// One file that is kept in memory, and one that is sent by sendfile.
fn files() -> [Vec<u8>; 2] {
    [bytes(1, 10_000), bytes(1, 1_000_000)]
}

#[test]
fn one_range() {
    for content in files() {
        let tree = Tree::of(&[("file.txt", &content)]);
        let server = Server::new(tree.serve());
        let (len, last) = (content.len(), content.len() - 1);
        for (range, expected) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-499", 0..500),
            ("bytes=4095-4097", 4095..4098),
            ("bytes=500-", 500..len),
            ("bytes=-500", len - 500..len),
            ("bytes=-99999999", 0..len),
            ("bytes=0-99999999999999999999999999", 0..len),
            (&format!("bytes={last}-"), last..len),
            ("BYTES=1-2", 1..3),
            // Ranges that touch or overlap are joined.
            ("bytes=0-99,100-199", 0..200),
            ("bytes=100-199, 0-120", 0..200),
            // Ranges outside the file are left out.
            ("bytes=7-8,99999999-", 7..9),
        ] {
            let reply = Client::get(&server, "/file.txt", &format!("Range: {range}\r\n"));
            let content_range = format!("bytes {}-{}/{len}", expected.start, expected.end - 1);
            reply
                .has_status(206)
                .has("content-range", &content_range)
                .has("content-length", &expected.len().to_string())
                .has("content-type", "text/plain; charset=utf-8")
                .has("accept-ranges", "bytes")
                .has_body(&content[expected]);
        }
    }
}

#[test]
fn a_range_of_a_large_file_leaves_by_sendfile() {
    let content = bytes(2, 1_000_000);
    let tree = Tree::of(&[("file", &content)]);
    let server = Server::new(tree.serve());
    Client::get(&server, "/file", "Range: bytes=12345-234566\r\n")
        .has_body(&content[12_345..234_567]);
    Client::get(&server, "/file", "Range: bytes=-3\r\n").has_body(&content[999_997..]);
    let reply = Client::get(&server, "/file", "Range: bytes=0-9,500000-699999\r\n");
    assert_eq!(parts(&reply).len(), 2);
    server.stop_uncopied(222_222 + 3 + 200_010);
}

#[test]
fn several_ranges_are_parts_of_one_body() {
    for content in files() {
        let tree = Tree::of(&[("file.txt", &content)]);
        let server = Server::new(tree.serve());
        let len = content.len();
        for (range, expected) in [
            ("bytes=0-0,-1", vec![0..1, len - 1..len]),
            (
                "bytes=5000-5999,0-999,-50",
                vec![5000..6000, 0..1000, len - 50..len],
            ),
            (
                "bytes= 1-1 ,, 200-200,\t400-400",
                vec![1..2, 200..201, 400..401],
            ),
            ("bytes=0-99,50-149,9000-", vec![0..150, 9000..len]),
            ("bytes=0-0,99999999-,9000-9000", vec![0..1, 9000..9001]),
        ] {
            let reply = Client::get(&server, "/file.txt", &format!("Range: {range}\r\n"));
            let reply = reply.has_status(206).lacks("content-range");
            let parts = parts(&reply);
            let ranges: Vec<_> = parts.iter().map(|part| part.range.clone()).collect();
            assert_eq!(ranges, expected, "{range}");
            for part in parts {
                assert_eq!(part.total, len);
                assert!(part.body == content[part.range.clone()], "{:?}", part.range);
                assert_eq!(part.content_type, "text/plain; charset=utf-8");
            }
        }
        // The boundary must not be predictable.
        let ask = || Client::get(&server, "/file.txt", "Range: bytes=0-0,-1\r\n");
        assert_ne!(ask().field("content-type"), ask().field("content-type"));
    }
}

struct Part {
    content_type: String,
    range: Range<usize>,
    total: usize,
    body: Vec<u8>,
}

/// Parses a multipart/byteranges body to its last byte (RFC 2046 section 5.1.1).
#[track_caller]
fn parts(reply: &Reply) -> Vec<Part> {
    let length = reply.body.len().to_string();
    assert_eq!(reply.field("content-length"), Some(&*length));
    let content_type = reply.field("content-type").unwrap();
    let boundary = content_type
        .strip_prefix("multipart/byteranges; boundary=")
        .unwrap();
    assert!((1..=70).contains(&boundary.len()));
    let (first, closing) = (
        format!("\r\n--{boundary}\r\n"),
        format!("--{boundary}--\r\n"),
    );
    let mut rest = reply
        .body
        .strip_prefix(first.as_bytes())
        .expect("no preamble");
    let mut parts = Vec::new();
    loop {
        let end = rest
            .windows(4)
            .position(|it| it == b"\r\n\r\n")
            .expect("a part's head");
        let head = std::str::from_utf8(&rest[..end]).unwrap();
        let [content_type, content_range] = head.split("\r\n").collect::<Vec<_>>()[..] else {
            panic!("{head:?}");
        };
        let (first, last, total) = positions(content_range);
        let (body, after) = rest[end + 4..].split_at(last + 1 - first);
        parts.push(Part {
            content_type: content_type
                .strip_prefix("Content-Type: ")
                .unwrap()
                .to_owned(),
            range: first..last + 1,
            total,
            body: body.to_vec(),
        });
        let after = after
            .strip_prefix(b"\r\n")
            .expect("the line end of a boundary");
        if after == closing.as_bytes() {
            return parts;
        }
        let next = format!("--{boundary}\r\n");
        rest = after.strip_prefix(next.as_bytes()).expect("another part");
    }
}

fn positions(content_range: &str) -> (usize, usize, usize) {
    let numbers = content_range.strip_prefix("Content-Range: bytes ").unwrap();
    let (range, total) = numbers.split_once('/').unwrap();
    let (first, last) = range.split_once('-').unwrap();
    (
        first.parse().unwrap(),
        last.parse().unwrap(),
        total.parse().unwrap(),
    )
}

#[test]
fn what_cannot_be_satisfied() {
    let content = bytes(3, 20_000);
    let tree = Tree::of(&[("file", &content), ("empty", b"")]);
    let server = Server::new(tree.serve());
    for range in [
        "bytes=20000-",
        "bytes=-0",
        "bytes=99999-,30000-30001",
        "bytes=20000-20000",
    ] {
        Client::get(&server, "/file", &format!("Range: {range}\r\n"))
            .expect_error(416)
            .has("content-range", "bytes */20000");
    }
    // An empty file has no range, and all of it is sent.
    for range in [
        "bytes=0-",
        "bytes=0-0",
        "bytes=-1",
        "bytes=7-",
        "bytes=0-1,3-",
    ] {
        Client::get(&server, "/empty", &format!("Range: {range}\r\n"))
            .has_status(200)
            .lacks("content-range")
            .has("content-length", "0")
            .has_body(b"");
    }
}

#[test]
fn what_is_ignored_gets_the_whole() {
    let content = bytes(4, 20_000);
    let tree = Tree::of(&[("file", &content)]);
    let server = Server::new(tree.serve());
    let many: Vec<_> = (0..100).map(|it| format!("{0}-{0}", it * 200)).collect();
    let many = format!("bytes={}", many.join(","));
    for range in [
        "lines=0-5",
        "bytes=5-4",
        "bytes=a-b",
        "bytes=",
        "bytes",
        "bytes=0-5,x",
        // Attacks: too many ranges, and the same one over and over.
        &many,
        "bytes=0-,0-,0-,0-",
        "bytes=0-5\r\nRange: bytes=7-8",
    ] {
        Client::get(&server, "/file", &format!("Range: {range}\r\n"))
            .has_status(200)
            .lacks("content-range")
            .has("content-length", "20000")
            .has_body(&content);
    }
    Client::ask(&server, "HEAD", "/file", "Range: bytes=0-5\r\n")
        .has_status(200)
        .has("content-length", "20000")
        .lacks("content-range");
}

#[test]
fn curl_resumes_and_takes_ranges() {
    if !needs::tool("curl") {
        return;
    }
    let content = bytes(5, 500_000);
    let tree = Tree::of(&[("file", &content)]);
    let server = Server::new(tree.serve());
    let directory = tempfile::tempdir().unwrap();
    let half = directory.path().join("half");
    std::fs::write(&half, &content[..123_456]).unwrap();
    let resume = ["-C", "-", "-o", half.to_str().unwrap()];
    curl::run(&server, "/file", &resume)
        .reply()
        .has_status(206)
        .has("content-range", "bytes 123456-499999/500000");
    assert!(std::fs::read(&half).unwrap() == content);
    // There is nothing left to resume.
    assert_eq!(curl::run(&server, "/file", &resume).statuses(), [416]);
    assert!(std::fs::read(&half).unwrap() == content);
    curl::run(&server, "/file", &["-r", "1000-1999"])
        .reply()
        .has_status(206)
        .has_body(&content[1000..2000]);
    let several = curl::run(&server, "/file", &["-r", "0-9,100000-199999,-1"]).reply();
    let lengths: Vec<_> = parts(&several).iter().map(|part| part.body.len()).collect();
    assert_eq!(lengths, [10, 100_000, 1]);
}
