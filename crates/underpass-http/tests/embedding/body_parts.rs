//! Bodies of several files and bytes: their order, ranges of them, and what is opened when.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use bytes::Bytes;
use http::Response;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tower::service_fn;
use underpass_http::{BodyPart, BodyParts, FileBody, ServerStats};

use crate::support::{Client, Files, KIB, MIB, Server, block_on, bytes};

fn collected(body: FileBody) -> Bytes {
    block_on(body.collect()).unwrap().to_bytes()
}

/// The bytes that a body gives before it ends, and its error.
fn read(mut body: FileBody) -> (Vec<u8>, Option<io::Error>) {
    block_on(async {
        let mut got = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => got.extend_from_slice(&frame.into_data().unwrap()),
                Err(error) => return (got, Some(error)),
            }
        }
        (got, None)
    })
}

/// Files of which some are small and one is empty.
fn files() -> (Files, Vec<(&'static str, Vec<u8>)>) {
    let content = bytes(MIB + 77);
    let named: Vec<_> = [
        ("big", 0..MIB + 77),
        ("small", 5..4005),
        ("empty", 0..0),
        ("edge", 0..8 * KIB),
        ("middle", 100..100 + 70_000),
        ("tiny", 9..10),
    ]
    .map(|(name, range)| (name, content[range].to_vec()))
    .into();
    let files = named.iter().fold(Files::new(), |files, (name, content)| {
        files.with(name, content)
    });
    (files, named)
}

/// The same parts, ready and produced, with a line between each two, and their whole content.
fn both(files: &Files, named: &[(&'static str, Vec<u8>)]) -> ([BodyParts; 2], Vec<u8>) {
    let mut content = Vec::new();
    let (mut ready, mut produced) = (Vec::new(), Vec::new());
    for (name, bytes) in named {
        let line = format!("<{name}>\n");
        content.extend_from_slice(line.as_bytes());
        content.extend_from_slice(bytes);
        ready.push(BodyPart::from(line.clone()));
        ready.push(BodyPart::file(files.open(name)).unwrap());
        let path = files.path(name);
        produced.push(Ok(BodyPart::from(line)));
        let open = move || std::fs::File::open(path);
        produced.push(Ok(BodyPart::open_later(bytes.len() as u64, open)));
    }
    let len = content.len() as u64;
    let parts = [BodyParts::new(ready), BodyParts::produced(len, produced)];
    for parts in &parts {
        assert_eq!(parts.len(), len);
    }
    (parts, content)
}

#[test]
fn any_range_of_parts_can_be_had() {
    let (files, named) = files();
    let (_, content) = both(&files, &named);
    let len = content.len();
    let edge = 6 + MIB + 77;
    let ranges: [Range<usize>; 11] = [
        0..len,
        0..0,
        len..len,
        0..1,
        len - 1..len,
        5..7,
        edge - 1..edge + 1,
        edge..edge + 8,
        edge + 9..edge + 5000,
        100..len - 100,
        len - 70_010..len,
    ];
    for range in ranges {
        for parts in both(&files, &named).0 {
            let body = parts.range(range.start as u64..range.end as u64).unwrap();
            assert_eq!(body.size_hint().exact(), Some(range.len() as u64));
            assert!(collected(body) == content[range.clone()], "{range:?}");
        }
    }
    #[expect(clippy::reversed_empty_ranges, reason = "it is what is refused")]
    for range in [0..len as u64 + 1, 2..1, u64::MAX..u64::MAX] {
        for parts in both(&files, &named).0 {
            let error = parts.range(range.clone()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{range:?}");
        }
    }
}

#[test]
fn the_files_of_parts_leave_by_sendfile() {
    let (files, named) = files();
    let (_, content) = both(&files, &named);
    let files = Arc::new((files, named));
    let server = Server::start(move |stats: &Arc<ServerStats>| {
        let stats = Arc::clone(stats);
        service_fn(move |request: http::Request<_>| {
            let [ready, produced] = both(&files.0, &files.1).0;
            let parts = match request.uri().path() {
                "/ready" => ready,
                _ => produced,
            };
            let body = FileBody::from(parts.stats(Arc::clone(&stats)));
            async { Ok::<_, Infallible>(Response::new(body)) }
        })
    });
    let mut client = Client::connect(server.address);
    let large = (MIB + 77 + 70_000) as u64;
    let mut heads = 0;
    for (round, target) in ["/ready", "/produced", "/ready"].into_iter().enumerate() {
        let answer = client.get(target);
        assert!(answer.body == content, "{target}");
        heads += answer.head.len() as u64;
        let count = round as u64 + 1;
        server.log.exchanges(round + 1);
        let small = count * (content.len() as u64 - large);
        assert_eq!(server.left(), (count * large, heads + small), "{target}");
    }
}

/// A body of a million small files: what is sent later is neither made nor opened before.
#[test]
fn parts_are_produced_and_opened_when_their_turn_comes() {
    const PARTS: usize = 1_000_000;
    let files = Files::new()
        .with("small", &bytes(1000))
        .with("large", &bytes(100_000));
    let (produced, opened) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let parts = |name: &str, len: u64| {
        let (path, produced) = (files.path(name), Arc::clone(&produced));
        let opened = Arc::clone(&opened);
        let parts = (0..PARTS).map(move |_| {
            produced.fetch_add(1, SeqCst);
            let (path, opened) = (path.clone(), Arc::clone(&opened));
            Ok(BodyPart::open_later(len, move || {
                opened.fetch_add(1, SeqCst);
                std::fs::File::open(path)
            }))
        });
        BodyParts::produced(len * PARTS as u64, parts)
    };
    let counts = || (produced.swap(0, SeqCst), opened.swap(0, SeqCst));
    for (name, len, batch) in [("small", 1000, 66), ("large", 100_000, 1)] {
        let mut body = FileBody::from(parts(name, len));
        assert_eq!(counts(), (0, 0));
        let frame = block_on(body.frame()).unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap().len() as u64, len * batch);
        assert_eq!(counts(), (batch as usize, batch as usize));
    }
    // What lies before a range is not opened.
    let at = 999_998 * 1000 - 1;
    let body = parts("small", 1000).range(at..at + 2).unwrap();
    let small = bytes(1000);
    assert_eq!(&*collected(body), [small[999], small[0]]);
    assert_eq!(counts(), (999_999, 2));
}

#[test]
fn parts_of_another_length_than_announced_are_an_error() {
    let parts = |len: u64| {
        let parts = ["0123", "", "45", "6789"].map(|text| Ok(BodyPart::from(text)));
        BodyParts::produced(len, parts)
    };
    for (len, expected) in [(10, "0123456789"), (11, "0123456789"), (9, "012345")] {
        let (got, error) = read(parts(len).into());
        assert_eq!(got, expected.as_bytes(), "{len}");
        let kind = error.map(|error| error.kind());
        assert_eq!(
            kind,
            (len != 10).then_some(ErrorKind::InvalidInput),
            "{len}"
        );
    }
    // What an iterator returns is passed on.
    let failing = [
        Ok(BodyPart::from("begun")),
        Err(ErrorKind::NotSeekable.into()),
    ];
    let (got, error) = read(BodyParts::produced(20, failing).into());
    assert_eq!(got, b"begun");
    assert_eq!(error.unwrap().kind(), ErrorKind::NotSeekable);
    let panicking = std::iter::once_with(|| -> io::Result<BodyPart> { panic!("as it is tested") });
    let (got, error) = read(BodyParts::produced(1, panicking).into());
    assert!(got.is_empty() && error.is_some());
}

/// A file that became shorter ends the connection, so that no client takes the part for the whole.
#[test]
fn a_part_that_is_shorter_than_it_was_breaks_the_response_off() {
    for len in [1000, 100_000] {
        let files = Files::new().with("file", &bytes(len));
        let path = files.path("file");
        let server = Server::start(move |stats: &Arc<ServerStats>| {
            let stats = Arc::clone(stats);
            service_fn(move |_: http::Request<_>| {
                let path = path.clone();
                let open = move || std::fs::File::open(path);
                let parts = [
                    BodyPart::from("before"),
                    BodyPart::open_later(len as u64 + 1, open),
                    BodyPart::from("after"),
                ];
                let body = FileBody::from(BodyParts::new(parts).stats(Arc::clone(&stats)));
                async { Ok::<_, Infallible>(Response::new(body)) }
            })
        });
        let mut client = Client::connect(server.address);
        client.ask("GET", "/", "");
        // Hyper may give up what it has not written yet, the head too.
        let got = client.rest();
        assert!(!got.ends_with(b"after"), "{}", got.escape_ascii());
        if let Some(head) = got.windows(4).position(|it| it == b"\r\n\r\n") {
            let announced = format!("content-length: {}\r\n", len + 12);
            let fields = String::from_utf8_lossy(&got[..head + 2]).to_lowercase();
            assert!(fields.contains(&announced), "{fields}");
            assert!(b"before".starts_with(&got[head + 4..]), "{len}");
        }
        assert_eq!(server.stats.truncated.get(), 1, "{len}");
    }
}

#[test]
fn what_cannot_be_opened_ends_the_body() {
    let files = Files::new();
    for (path, kind) in [
        (files.path("absent"), ErrorKind::NotFound),
        (files.root().display().to_string(), ErrorKind::InvalidInput),
    ] {
        let later = BodyPart::open_later(5, move || std::fs::File::open(path));
        let (got, error) = read(BodyParts::new([BodyPart::from("begun"), later]).into());
        assert_eq!(got, b"begun");
        assert_eq!(error.unwrap().kind(), kind);
    }
    // A range without it does not need it.
    let later = BodyPart::open_later(5, || Err(ErrorKind::NotFound.into()));
    let parts = BodyParts::new([BodyPart::from("begun"), later]);
    assert_eq!(&*collected(parts.range(1..5).unwrap()), b"egun");
}
