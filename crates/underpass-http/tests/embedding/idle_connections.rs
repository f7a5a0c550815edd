//! When there is no room for another connection, the one that has been idle longest is closed for
//! it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::sync::Semaphore;
use underpass_http::{Limits, Timeouts};

use crate::support::{Client, Server};

/// `/now` is answered at once, `/later` when the semaphore has a permit.
fn app(permits: &Arc<Semaphore>) -> Router {
    let permits = Arc::clone(permits);
    Router::new().route("/now", get(async || "now")).route(
        "/later",
        get(async move || {
            permits.acquire().await.unwrap().forget();
            "later"
        }),
    )
}

fn server(connections: usize) -> (Server, Arc<Semaphore>) {
    let permits = Arc::new(Semaphore::new(0));
    let app = app(&permits);
    let server = Server::configured(
        move |_| app,
        move |serve| {
            let mut limits = Limits::default();
            limits.connections = connections;
            let mut timeouts = Timeouts::default();
            timeouts.head = Duration::MAX;
            serve.limits(limits).timeouts(timeouts)
        },
    );
    (server, permits)
}

/// The tests wait at most half as long as an idle connection is kept.
#[test]
fn pitfall_35_the_idlest_connection_makes_room() {
    let (server, _permits) = server(3);
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(server.address)).collect();
    for client in &mut clients {
        assert_eq!(client.get("/now").body, b"now");
    }
    // The first connection is the one that was used last.
    server.log.exchanges(3);
    std::thread::sleep(std::time::Duration::from_millis(20));
    assert_eq!(clients[0].get("/now").body, b"now");
    let mut fourth = Client::connect(server.address);
    assert_eq!(fourth.get("/now").body, b"now");
    assert_eq!(server.stats.connections_evicted.get(), 1);
    assert_eq!(clients[0].get("/now").body, b"now");
    assert_eq!(fourth.get("/now").body, b"now");
}

#[test]
fn pitfall_35_busy_connections_stay() {
    let (server, permits) = server(2);
    let (mut busy, mut idle) = (
        Client::connect(server.address),
        Client::connect(server.address),
    );
    assert_eq!(idle.get("/now").body, b"now");
    busy.ask("GET", "/later", "");
    let mut third = Client::connect(server.address);
    third.ask("GET", "/later", "");
    assert_eq!(idle.rest(), b"", "it is closed, in order");
    // Now both are busy: the fourth has to wait until one of them becomes idle.
    let mut fourth = Client::connect(server.address);
    fourth.ask("GET", "/now", "");
    assert!(server.stats.connections_accepted.get() < 4);
    permits.add_permits(1);
    assert_eq!(fourth.answer().body, b"now");
    permits.add_permits(1);
    let mut answered = [&mut busy, &mut third].map(|client| client.answer().body);
    answered.sort();
    assert_eq!(answered, [b"later", b"later"]);
}

/// Browsers connect ahead of need. A client that has begun a request stays, however long it takes.
#[test]
fn pitfall_35_a_client_that_says_nothing_makes_room() {
    let (server, _permits) = server(2);
    let mut begun = Client::connect(server.address);
    begun.send("GET /now HTTP/1.1\r\n");
    let silent = Client::connect(server.address);
    let mut last = Client::connect(server.address);
    assert_eq!(last.get("/now").body, b"now");
    assert_eq!(silent.rest(), b"", "it is closed, in order");
    begun.send("Host: localhost\r\n\r\n");
    assert_eq!(begun.answer().body, b"now");
    assert_eq!(server.stats.connections_evicted.get(), 1);
}

/// A client that sends another request is not idle, and clients that take turns are all served.
#[test]
fn pitfall_35_many_clients_share_a_few_places() {
    let (server, _permits) = server(8);
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = Client::connect(server.address);
        assert_eq!(client.get("/now").body, b"now");
        clients.push(client);
    }
    let stats = &server.stats;
    assert_eq!(stats.connections_accepted.get(), 100);
    assert!(stats.connections_open.get() <= 8, "{stats:?}");
    assert!(stats.connections_evicted.get() >= 92, "{stats:?}");
}
