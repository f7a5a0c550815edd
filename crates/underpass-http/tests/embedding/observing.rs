//! What an observer is told.

use std::sync::Arc;

use http::StatusCode;
use underpass_http::{ServeDir, ServerStats};

use crate::support::{Client, Files, MORE_THAN_BUFFERS, Server, bytes};

fn serve_dir(files: &Files) -> impl FnOnce(&Arc<ServerStats>) -> ServeDir + Send + 'static {
    let root = files.root().to_owned();
    move |stats| ServeDir::new(root).stats(Arc::clone(stats))
}

#[test]
fn each_exchange_is_told_in_order_with_what_it_was() {
    let content = bytes(100_000);
    let files = Files::new().with("a", &content).with("b", b"small");
    let server = Server::start(serve_dir(&files));
    let mut client = Client::connect(server.address);
    let referer = "Referer: here\r\nUser-Agent: test\r\nAuthorization: Basic eDp5\r\n";
    client.ask("GET", "/a?query", referer);
    client.ask("HEAD", "/a", "");
    client.ask("GET", "/missing", "");
    client.ask("GET", "/b", "Range: bytes=1-2\r\n");
    client.ask("DELETE", "/b", "");
    let etag = client.answer().field("etag").unwrap().to_owned();
    client.head();
    let missing = client.answer().body.len() as u64;
    client.answer();
    let refused = client.answer().body.len() as u64;
    client.ask("GET", "/a", &format!("If-None-Match: {etag}\r\n"));
    assert_eq!(client.head().status, 304);

    let exchanges = server.log.exchanges(6);
    let seen: Vec<_> = exchanges
        .iter()
        .map(|it| {
            let request = it.request.as_ref().unwrap();
            let line = format!("{} {}", request.method, request.uri);
            (line, it.status.unwrap().as_u16(), it.bytes)
        })
        .collect();
    let expected = [
        ("GET /a?query", 200, 100_000),
        ("HEAD /a", 200, 0),
        ("GET /missing", 404, missing),
        ("GET /b", 206, 2),
        ("DELETE /b", 405, refused),
        ("GET /a", 304, 0),
    ]
    .map(|(line, status, bytes)| (line.to_owned(), status, bytes));
    assert_eq!(seen, expected);
    assert!(exchanges.iter().all(|it| it.complete));
    assert!(exchanges.iter().all(|it| it.peer == exchanges[0].peer));
    assert!(exchanges[0].peer.unwrap().ip().is_loopback());
    let request = exchanges[0].request.as_ref().unwrap();
    assert_eq!(request.version, http::Version::HTTP_11);
    assert_eq!(request.referer.as_ref().unwrap(), "here");
    assert_eq!(request.user_agent.as_ref().unwrap(), "test");
    assert_eq!(request.authorization.as_ref().unwrap(), "Basic eDp5");
    assert_eq!(server.log.failures(), [""; 0]);
}

#[test]
fn a_client_that_goes_away_leaves_an_incomplete_exchange_and_a_line() {
    let content = bytes(MORE_THAN_BUFFERS);
    let files = Files::new().with("file", &content);
    let server = Server::start(serve_dir(&files));
    let mut client = Client::slow(server.address);
    client.ask("GET", "/file", "");
    client.head();
    drop(client);
    let exchange = &server.log.exchanges(1)[0];
    assert!(!exchange.complete);
    assert_eq!(exchange.status, Some(StatusCode::OK));
    assert!(exchange.bytes < MORE_THAN_BUFFERS as u64);
    let failure = server.log.failure();
    assert!(!failure.is_empty() && !failure.contains('\n'), "{failure}");
    assert_eq!(server.stats.truncated.get(), 0);
}

#[test]
fn what_is_no_request_is_an_exchange_and_a_failure_of_one_line() {
    let files = Files::new().with("a", b"small");
    let server = Server::start(serve_dir(&files));
    let long = format!("GET /{}", "x".repeat(20_000));
    // hyper refuses the last one, and does not tell the line.
    for (sent, status, line) in [
        ("\x16\x03\x01\x02", 400, "\x16\x03\x01\x02"),
        ("this is no HTTP\r\n\r\n", 400, "this is no HTTP"),
        ("GET /a HTTP/1.1\nHost: a\n\n", 400, "GET /a HTTP/1.1"),
        (&long, 431, &long[..256]),
        ("GET /a HTTP/1.1\r\nHost : a\r\n\r\n", 400, ""),
    ] {
        let (before, failures) = (server.log.count(), server.log.failures().len());
        let mut client = Client::connect(server.address);
        client.ask("GET", "/a", "");
        assert_eq!(client.answer().status, 200);
        client.send(sent);
        assert_eq!(client.head().status, status, "{line}");
        drop(client);
        let exchanges = server.log.exchanges(before + 2);
        let (good, refused) = (&exchanges[before], &exchanges[before + 1]);
        assert!(good.malformed.is_none() && refused.request.is_none());
        assert_eq!(refused.malformed.as_deref(), Some(line.as_bytes()));
        let word = line.split(' ').next().unwrap();
        let is_word = word.starts_with(|it: char| it.is_ascii_alphabetic());
        assert_eq!(refused.method.as_str(), if is_word { word } else { "-" });
        assert_eq!(refused.status.unwrap().as_u16(), status);
        assert!(refused.complete && refused.peer == good.peer);
        assert_eq!(server.log.failures().len(), failures + 1);
        let failure = server.log.failures().pop().unwrap();
        assert!(!failure.is_empty() && !failure.contains('\n'), "{failure}");
    }
    assert_eq!(server.stats.requests_refused.get(), 5);
}
