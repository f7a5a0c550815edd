//! Clients that keep a server waiting, and more of them than it accepts.

use std::time::Duration;

use underpass_http::{Timeouts, Uploads};

use crate::support::{
    Client, MORE_THAN_BUFFERS, Server, Settings, Tree, bytes, eventually, request,
};

const SOON: Duration = Duration::from_millis(200);

/// All timeouts except the one that `set` changes are far longer than a test waits.
fn server(tree: &Tree, set: impl FnOnce(&mut Timeouts)) -> Server {
    let settings = Settings::new(|_, timeouts| {
        let never = Duration::from_secs(3600);
        (
            timeouts.head,
            timeouts.body,
            timeouts.send,
            timeouts.keep_alive,
        ) = (never, never, never, never);
        set(timeouts);
    });
    Server::with(tree.serve().uploads(Uploads::default()), settings)
}

/// Checks that all connections have ended, and that this many of them were ended by a timeout.
#[track_caller]
fn timed_out(server: Server, count: u64) {
    let stats = server.stop();
    assert_eq!(stats.connections_timed_out.get(), count);
    assert_eq!(stats.connections_open.get(), 0);
}

#[test]
fn a_head_that_stops() {
    let tree = Tree::of(&[("file", b"content")]);
    let server = server(&tree, |timeouts| timeouts.head = SOON);
    for beginning in ["", "G", "GET /file HTTP/1.1\r\nHost: a\r\n"] {
        let mut client = Client::new(&server);
        client.send(beginning.as_bytes());
        client.is_ended();
    }
    // Also after a request.
    let mut client = Client::new(&server);
    client.send(request("GET", "/file", "").as_bytes());
    client.reply("GET").has_status(200);
    client.send(b"GET");
    client.is_ended();
    // Also if the head began before the previous request was answered.
    for beginning in [
        "G",
        "GET /file HTTP/1.1\r\n",
        "GET /file HTTP/1.1\r\nHost: a",
    ] {
        let mut client = Client::new(&server);
        client.send((request("GET", "/file", "").repeat(2) + beginning).as_bytes());
        client.reply("GET").has_status(200);
        client.reply("GET").has_status(200);
        client.is_ended();
    }
    timed_out(server, 7);
}

/// The timeout is for the whole head: a byte now and then does not extend it.
#[test]
fn a_head_that_trickles() {
    let tree = Tree::of(&[("file", b"content")]);
    let server = server(&tree, |timeouts| timeouts.head = SOON);
    let mut client = Client::new(&server);
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(20)))
        .unwrap();
    client.send(b"GET /file HTTP/1.1\r\nHost: a\r\nX: ");
    // Reading makes the pause between two bytes.
    let mut byte = [0];
    let ended = (0..1000).any(|_| {
        let went = client.offer(b"x");
        !went || matches!(std::io::Read::read(&mut client.stream, &mut byte), Ok(0))
    });
    assert!(ended, "it can be kept waiting");
    timed_out(server, 1);
}

#[test]
fn a_body_that_stops() {
    let tree = Tree::of(&[("file", b"old")]);
    let server = server(&tree, |timeouts| timeouts.body = SOON);
    for fields in ["Content-Length: 100\r\n", "Transfer-Encoding: chunked\r\n"] {
        let mut client = Client::new(&server);
        client.send((request("PUT", "/file", fields) + "5\r\nhello").as_bytes());
        client.is_ended();
    }
    timed_out(server, 2);
    assert_eq!(std::fs::read(tree.path("file")).unwrap(), b"old");
    assert_eq!(tree.names(), ["file"]);
}

#[test]
fn a_reader_that_stops() {
    let tree = Tree::of(&[("large", &bytes(1, MORE_THAN_BUFFERS))]);
    let server = server(&tree, |timeouts| timeouts.send = SOON);
    let mut client = Client::new(&server);
    client.send(request("GET", "/large", "").as_bytes());
    client.head().has_status(200);
    // Nothing is read until the server has given up.
    eventually(|| server.stats.connections_timed_out.get() > 0);
    let came = client.rest();
    assert!(came.len() < MORE_THAN_BUFFERS);
    assert!(bytes(1, MORE_THAN_BUFFERS).starts_with(&came));
    timed_out(server, 1);
}

/// A client that keeps reading, however slowly, is served.
#[test]
fn a_slow_reader_is_not_stopped() {
    let content = bytes(2, MORE_THAN_BUFFERS / 2);
    let tree = Tree::of(&[("large", &content)]);
    let timeout = 6 * SOON;
    let server = server(&tree, |timeouts| timeouts.send = timeout);
    let mut client = Client::new(&server);
    client.send(request("GET", "/large", "Connection: close\r\n").as_bytes());
    client.head().has_status(200);
    let mut came = Vec::new();
    let begun = std::time::Instant::now();
    while came.len() < content.len() {
        came.extend(client.take((content.len() - came.len()).min(256 << 10)));
        // Twice the timeout in total.
        if begun.elapsed() < 2 * timeout {
            std::thread::park_timeout(SOON / 4);
        }
    }
    assert!(came == content);
    client.is_ended();
    timed_out(server, 0);
}

#[test]
fn an_idle_connection_is_closed() {
    let tree = Tree::of(&[("file", b"content"), ("large", &bytes(3, 100_000))]);
    let server = server(&tree, |timeouts| timeouts.keep_alive = SOON);
    for path in ["/file", "/large", "/missing"] {
        let mut client = Client::new(&server);
        for _ in 0..3 {
            client.send(request("GET", path, "").as_bytes());
            client.reply("GET");
        }
        client.is_ended();
    }
    timed_out(server, 3);
}

/// A connection with a response in progress is never closed to make room.
#[test]
fn the_next_connection_waits_for_room() {
    let tree = Tree::of(&[
        ("file", b"content"),
        ("large", &bytes(5, MORE_THAN_BUFFERS)),
    ]);
    let settings = Settings::new(|limits, _| limits.connections = 2);
    let server = Server::with(tree.serve(), settings);
    let mut inside: Vec<Client> = (0..2).map(|_| Client::new(&server)).collect();
    for client in &mut inside {
        client.send(request("GET", "/file", "").as_bytes());
        client.reply("GET").has_status(200);
        client.send(request("GET", "/large", "").as_bytes());
    }
    let mut waiting = Client::new(&server);
    waiting.send(request("GET", "/file", "").as_bytes());
    // One of the connected clients is served while the other one waits.
    inside[0].head().has_status(200);
    inside[0].take(100_000);
    assert_eq!(server.stats.connections_open.get(), 2);
    drop(inside.pop());
    waiting.reply("GET").has_status(200).has_body(b"content");
    drop((inside, waiting));
    let stats = server.stop();
    assert_eq!(stats.connections_accepted.get(), 3);
    assert_eq!(stats.connections_open.get(), 0);
}

/// Connections that wait for their timeouts do not keep the server from serving others.
#[test]
fn others_are_served_meanwhile() {
    let tree = Tree::of(&[
        ("file", b"content"),
        ("large", &bytes(4, MORE_THAN_BUFFERS)),
    ]);
    let server = server(&tree, |_| {});
    let slow: Vec<Client> = (0..20)
        .map(|number| {
            let mut client = Client::new(&server);
            let part = match number % 3 {
                0 => "GET /fi".to_owned(),
                1 => request("GET", "/large", ""),
                _ => request("PUT", "/put", "Content-Length: 10\r\n") + "half",
            };
            client.send(part.as_bytes());
            client
        })
        .collect();
    for _ in 0..50 {
        Client::get(&server, "/file", "").has_body(b"content");
    }
    drop(slow);
    timed_out(server, 0);
}
