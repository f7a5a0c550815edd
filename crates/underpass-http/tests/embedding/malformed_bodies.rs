//! Chunked bodies whose framing two parsers could read differently: the request is refused,
//! whatever the application makes of it.

use axum::Router;
use axum::body::Body;
use axum::routing::post;
use http_body_util::BodyExt as _;

use crate::support::{Client, Server};

/// `/careless` takes errors for the end of the body, `/stubborn` waits for ever after one,
/// `/unread` does not look, and `/echo` has begun its response before.
fn app() -> Router {
    let careless = async |body: Body| match body.collect().await {
        Ok(body) => format!("{} bytes", body.to_bytes().len()),
        Err(_) => "nothing".to_owned(),
    };
    let stubborn = async |body: Body| {
        if body.collect().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    let echo = async |body: Body| Body::from_stream(body.into_data_stream());
    Router::new()
        .route("/careless", post(careless))
        .route("/stubborn", post(stubborn))
        .route("/unread", post(async || "unread"))
        .route("/echo", post(echo))
}

const MALFORMED: [&str; 8] = [
    "5;\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
];

const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";

#[test]
fn a_malformed_body_is_refused_whatever_the_application_says() {
    let server = Server::start(|_| app());
    for body in MALFORMED {
        // The second time the body comes behind the head, in a packet of its own.
        for (path, is_apart) in [
            ("/careless", false),
            ("/careless", true),
            ("/stubborn", false),
            ("/stubborn", true),
            ("/unread", false),
        ] {
            let mut client = Client::connect(server.address);
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: a\r\n{CHUNKED}Expect: 100-continue\r\n\r\n");
            if is_apart {
                client.send(&head);
                assert_eq!(client.head().status, 100);
                client.send(body);
            } else {
                client.send(head.replace("Expect: 100-continue\r\n", "") + body);
            }
            let answer = client.answer();
            assert_eq!(answer.status, 400, "{path} {body:?}: {}", answer.text());
            assert_eq!(answer.field("connection"), Some("close"));
            assert!(client.rest().is_empty());
        }
    }
    let mut client = Client::connect(server.address);
    client.ask("POST", "/careless", CHUNKED);
    client.send("5;a=\"b\"\r\nhello\r\n1\r\n!\r\n0\r\nTrailer: c\r\n\r\n");
    assert_eq!(client.answer().text(), "6 bytes");
}

/// A response that has begun is cut off: its end never comes.
#[test]
fn a_response_that_has_begun_is_cut_off() {
    let server = Server::start(|_| app());
    let mut client = Client::connect(server.address);
    client.ask("POST", "/echo", CHUNKED);
    client.send("5\r\nhello\r\n");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.read(10), b"5\r\nhello\r\n");
    client.send("+1\r\n!\r\n0\r\n\r\n");
    assert_eq!(client.rest(), b"");
    assert!(server.log.failure().contains("hexadecimal"));
}
