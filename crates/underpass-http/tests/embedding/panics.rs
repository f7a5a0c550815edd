//! A panic ends one connection only. For the others, the counters and the limits it is as if that
//! connection had ended normally.

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use futures_util::stream;
use underpass_http::Limits;

use crate::support::{Client, Server};

async fn panicking() -> &'static str {
    panic!("in a handler, on purpose")
}

fn app() -> Router {
    let panicking_body = stream::once(async { panic!("in a body, on purpose") });
    let panicking_body =
        stream::StreamExt::map(panicking_body, |(): ()| Ok::<_, std::io::Error>("never"));
    let body = std::sync::Mutex::new(Some(Body::from_stream(panicking_body)));
    let body = std::sync::Arc::new(body);
    Router::new()
        .route("/ok", get(async || "ok"))
        .route("/handler", get(panicking))
        .route(
            "/body",
            get(async move || body.lock().unwrap().take().unwrap()),
        )
}

#[test]
fn a_panic_ends_one_connection() {
    let server = Server::start(|_| app());
    let mut other = Client::connect(server.address);
    assert_eq!(other.get("/ok").body, b"ok");
    for (count, path) in [(1, "/handler"), (2, "/body"), (3, "/handler")] {
        let mut client = Client::connect(server.address);
        client.ask("GET", path, "");
        let got = client.rest();
        assert!(!got.ends_with(b"never"), "{}", got.escape_ascii());
        assert_eq!(other.get("/ok").body, b"ok");
        assert_eq!(server.stats.connections_panicked.get(), count);
    }
    assert_eq!(server.stats.connections_open.get(), 1);
    let exchanges = server.log.exchanges(7);
    let broken_off = exchanges.iter().filter(|exchange| !exchange.complete);
    assert_eq!(broken_off.count(), 3);
}

#[test]
fn a_panic_gives_its_place_back() {
    let server = Server::configured(
        |_| app(),
        |serve| {
            let mut limits = Limits::default();
            limits.connections = 1;
            serve.limits(limits)
        },
    );
    for _ in 0..3 {
        let mut client = Client::connect(server.address);
        client.ask("GET", "/handler", "");
        assert_eq!(client.rest(), b"");
        assert_eq!(Client::connect(server.address).get("/ok").body, b"ok");
    }
}
