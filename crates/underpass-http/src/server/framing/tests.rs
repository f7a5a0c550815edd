use super::*;

const MAX: HeadLimits = HeadLimits {
    bytes: 16 << 10,
    fields: 100,
};

/// What hyper sees of a stream that arrives in pieces of this size, and why it sees no more.
fn looked_at(stream: &[u8], piece: usize) -> (Vec<u8>, Option<Refusal>) {
    let mut framing = FramingCheck::new(MAX);
    let (mut shown, mut held) = (Vec::new(), Vec::new());
    for piece in stream.chunks(piece) {
        held.extend_from_slice(piece);
        let seen = framing.check(&mut held);
        shown.extend(held.drain(..seen));
        assert!(held.is_empty() || framing.is_in_head() || framing.refusal().is_some());
    }
    (shown, framing.refusal())
}

/// The status of the refusal, which must not depend on how the stream is split.
fn refusal(stream: &[u8]) -> Option<u16> {
    let pieces = 1..=stream.len();
    let statuses: Vec<_> = pieces
        .map(|piece| looked_at(stream, piece).1.map(|it| it.status.as_u16()))
        .collect();
    assert!(
        statuses.iter().all(|one| *one == statuses[0]),
        "depends on how it is cut: {}",
        stream.escape_ascii()
    );
    statuses[0]
}

#[test]
fn what_everybody_reads_alike_passes() {
    for stream in [
        &b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..],
        b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n\r\n",
        b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na\nb\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: Chunked \r\nHost: a\r\n\r\n5\r\na\nb\n\n\r\n0\r\n\r\n",
        b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\na\nb\n\n\r\n00\r\nA: b\r\nC: d\r\n\r\nGET\n",
        b"GET / HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"PUT / HTTP/1.1\r\nContent-Length:                                                  02\r\n\r\n\n\n",
    ] {
        assert_eq!(refusal(stream), None, "{}", stream.escape_ascii());
        for piece in 1..=stream.len() {
            assert_eq!(looked_at(stream, piece).0, stream);
        }
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    for (stream, status) in [
        (&b"GET / HTTP/1.1\nHost: a\r\n\r\n"[..], 400),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (
            b"PUT / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            501,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            400,
        ),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: \r\n\r\n", 400),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
            400,
        ),
        (b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: gzip;q=1, chunked\r\n\r\n",
            501,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n",
            501,
        ),
        (
            b"GET / HTTP/1.1\r\nContent-Length: 2\r\n\r\nabGET / HTTP/1.1\nHost: a\r\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
            400,
        ),
        (
            b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\n",
            400,
        ),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01", 400),
        (b"PRI * HTTP/2.0\r\n\r\n", 400),
        (b"UNDERPASS-REFUSED * HTTP/1.1\r\n\r\n", 400),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400),
    ] {
        assert_eq!(refusal(stream), Some(status), "{}", stream.escape_ascii());
    }
}

#[test]
fn heads_have_a_limit_before_they_are_complete() {
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(MAX.bytes));
    let fields = format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(MAX.fields + 1));
    for stream in [&long, &long[..long.len() - 2], &fields] {
        for piece in [997, stream.len()] {
            let (_, refusal) = looked_at(stream.as_bytes(), piece);
            assert_eq!(refusal.unwrap().status.as_u16(), 431);
        }
    }
}

#[test]
fn a_newer_minor_version_is_read_as_the_newest_that_is_known() {
    for (line, read) in [
        ("GET / HTTP/1.2", "GET / HTTP/1.1"),
        ("GET /HTTP/1.2 HTTP/1.9", "GET /HTTP/1.2 HTTP/1.1"),
        ("GET / HTTP/1.0", "GET / HTTP/1.0"),
        ("GET / HTTP/2.2", "GET / HTTP/2.2"),
        ("GET / HTTP/1.12", "GET / HTTP/1.12"),
    ] {
        let (shown, _) = looked_at(format!("{line}\r\n\r\n").as_bytes(), 5);
        assert_eq!(String::from_utf8(shown).unwrap(), format!("{read}\r\n\r\n"));
    }
}

#[test]
fn a_body_is_followed_to_its_end() {
    let mut framing = FramingCheck::new(MAX);
    framing.check(&mut b"GET / HTTP/1.1\r\n\r\n".to_vec());
    assert_eq!(framing.in_body_of(), None);
    framing.check(&mut b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab".to_vec());
    assert_eq!(framing.in_body_of(), Some(2));
    framing.check(&mut b"c\r\n0\r\n\r".to_vec());
    assert!(!framing.is_complete());
    framing.check(&mut b"\n".to_vec());
    assert!(framing.is_complete() && framing.in_body_of().is_none());
    assert!(!framing.is_between_requests(), "nothing more is looked at");
}

/// Bytes of another protocol, as far as the check is concerned.
const FOREIGN: &[u8] = b"\x81\n\n\r\nGET\n";

#[test]
fn what_follows_an_upgrade_is_not_touched() {
    let head = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n";
    let with_body = b"PUT / HTTP/1.1\r\nUpgrade: a\r\nContent-Length: 2\r\n\r\nok";
    for request in [&head[..], with_body] {
        for upgrade in [UpgradeAnswer::Undecided, UpgradeAnswer::Accepted] {
            let mut framing = FramingCheck::new(MAX);
            framing.check(&mut request.to_vec());
            framing.decide(upgrade);
            let mut foreign = FOREIGN.to_vec();
            assert_eq!(framing.check(&mut foreign), FOREIGN.len());
            assert_eq!(foreign, FOREIGN);
            assert_eq!(
                framing.has_passed_unchecked(),
                upgrade == UpgradeAnswer::Undecided
            );
        }
        assert_eq!(refusal(&[request, FOREIGN].concat()), None);
    }
}

#[test]
fn what_follows_a_declined_upgrade_is_looked_at() {
    let mut framing = FramingCheck::new(MAX);
    framing.check(&mut b"GET / HTTP/1.1\r\nUpgrade: h2c\r\nHost: a\r\n\r\n".to_vec());
    assert!(framing.is_between_requests());
    framing.decide(UpgradeAnswer::Declined);
    framing.check(&mut b"GET / HTTP/1.1\nHost: a\n\n".to_vec());
    assert!(framing.refusal().is_some() && !framing.has_passed_unchecked());
}
