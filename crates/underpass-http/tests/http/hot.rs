//! Files that are requested often: a response that is made without hyper is the same as hyper's.

use std::fs;
use std::time::{Duration, Instant};

use crate::support::{
    Client, IN_MEMORY, Reply, Server, Settings, Tree, between_uploads, bytes, request,
};

/// The fields of a plain request, which is recognised, and of one that is not.
const PLAIN: &str = "Accept: */*\r\n";
const OTHER: &str = "Accept: */*\r\nX-Other: 1\r\n";

/// The largest file that is answered without hyper.
const MOST_AT_ONCE: usize = 4 << 20;

#[track_caller]
fn ask(client: &mut Client, method: &str, path: &str, fields: &str) -> Reply {
    client.send(request(method, path, fields).as_bytes());
    client.reply(method)
}

#[test]
fn a_hot_file_is_answered_as_any_other() {
    let is_hot = |length| {
        let content = bytes(1, length);
        let tree = Tree::of(&[("file.txt", &content)]);
        let server = Server::new(tree.serve().cache_control("no-cache".parse().unwrap()));
        let mut client = Client::new(&server);
        let cold = ask(&mut client, "GET", "/file.txt", OTHER)
            .has_status(200)
            .has_body(&content);
        for _ in 0..3 {
            let hot = ask(&mut client, "GET", "/file.txt", PLAIN)
                .has_status(200)
                .has_body(&content);
            assert_eq!(hot.undated(), cold.undated(), "{length}");
            assert_eq!(hot.version, cold.version);
            let date = hot.field("date").expect("a Date");
            assert!(httpdate::parse_http_date(date).is_ok(), "{date}");
        }
        drop(client);
        let stats = server.stop();
        let by_sendfile = if length > IN_MEMORY {
            4 * length as u64
        } else {
            0
        };
        assert_eq!(stats.bytes_sendfile.get(), by_sendfile, "{length}");
        (stats.cache_misses.get(), stats.cache_hits.get()) == (1, 3)
    };

    for length in [
        0,
        1,
        300,
        4096,
        4097,
        IN_MEMORY,
        IN_MEMORY + 1,
        100_000,
        4 << 20,
        (4 << 20) + 1,
    ] {
        between_uploads(|| is_hot(length));
    }
}

/// Fields that change the response are respected, however often the file is requested.
#[test]
fn a_hot_file_has_conditions_and_ranges() {
    let content = bytes(2, 50_000);
    let tree = Tree::of(&[("file", &content), ("dir/index.html", b"index")]);
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let etag = ask(&mut client, "GET", "/file", PLAIN).etag().to_owned();
    for _ in 0..2 {
        for (method, path, fields, status, body) in [
            ("GET", "/file", PLAIN, 200, &content[..]),
            ("GET", "/file", "Range: bytes=7-8\r\n", 206, &content[7..9]),
            ("HEAD", "/file", PLAIN, 200, b""),
            ("GET", "/file?query", PLAIN, 200, &content),
            (
                "GET",
                "/file",
                &format!("If-None-Match: {etag}\r\n"),
                304,
                b"",
            ),
            ("GET", "/dir/", PLAIN, 200, b"index"),
            ("GET", "/file", "Content-Length: 5\r\n", 200, &content),
        ] {
            let body_sent = if fields.starts_with("Content-Length") {
                "hello"
            } else {
                ""
            };
            client.send((request(method, path, fields) + body_sent).as_bytes());
            client.reply(method).has_status(status).has_body(body);
        }
        ask(&mut client, "DELETE", "/file", PLAIN).expect_error(405);
        ask(&mut client, "GET", "/missing", PLAIN).expect_error(404);
    }
    assert_eq!(ask(&mut client, "GET", "/file", "Host: b\r\n").status, 400);
    client.is_ended();
}

/// Requests one at a time, several in one write, and split at every position.
#[test]
fn hot_requests_come_in_any_pieces() {
    let (small, large) = (bytes(3, 5000), bytes(4, 60_000));
    let tree = Tree::of(&[("small", &small), ("large", &large)]);
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let (ask_small, ask_large) = (
        request("GET", "/small", PLAIN),
        request("GET", "/large", PLAIN),
    );
    for count in [1, 1, 2, 1, 5, 1, 20, 1] {
        client.send((ask_small.clone() + &ask_large).repeat(count).as_bytes());
        for _ in 0..count {
            client.reply("GET").has_status(200).has_body(&small);
            client.reply("GET").has_status(200).has_body(&large);
        }
        client.send(ask_large.as_bytes());
        client.reply("GET").has_body(&large);
    }
    let both = ask_large + &ask_small;
    for at in 1..both.len() {
        client.send(&both.as_bytes()[..at]);
        client.send(&both.as_bytes()[at..]);
        client.reply("GET").has_status(200).has_body(&large);
        client.reply("GET").has_status(200).has_body(&small);
    }
    // Empty lines before a request are ignored (RFC 9112 section 2.2).
    client.send(("\r\n".to_owned() + &both).as_bytes());
    client.reply("GET").has_body(&large);
    client.reply("GET").has_body(&small);
}

/// More than the connection's buffers hold, for a client that sends all its requests before it
/// reads.
#[test]
fn hot_answers_wait_for_their_reader() {
    let content = bytes(5, 4 << 20);
    let tree = Tree::of(&[("file", &content), ("small", b"small")]);
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    ask(&mut client, "GET", "/file", PLAIN).has_body(&content);
    for path in ["/file", "/small"].repeat(10) {
        client.send(request("GET", path, PLAIN).as_bytes());
    }
    client.send(request("GET", "/small", "Connection: close\r\n").as_bytes());
    for _ in 0..10 {
        client.reply("GET").has_status(200).has_body(&content);
        client.reply("GET").has_status(200).has_body(b"small");
    }
    client.reply("GET").has("connection", "close");
    client.is_ended();
}

/// A connection of which hyper never saw a request has the same timeouts.
#[test]
fn hot_connections_time_out() {
    let soon = Duration::from_millis(200);
    let never = Duration::from_secs(3600);
    let tree = Tree::of(&[("file", &bytes(6, 4 << 20))]);
    let warm = |set: fn(&mut underpass_http::Timeouts, Duration)| {
        let settings = Settings::new(|_, timeouts| {
            (timeouts.head, timeouts.keep_alive, timeouts.send) = (never, never, never);
            set(timeouts, soon);
        });
        let server = Server::with(tree.serve(), settings);
        Client::get(&server, "/file", "");
        let mut client = Client::new(&server);
        ask(&mut client, "GET", "/file", PLAIN).has_status(200);
        (server, client)
    };
    let (server, mut idle) = warm(|timeouts, soon| timeouts.keep_alive = soon);
    idle.is_ended();
    assert_eq!(server.stop().connections_timed_out.get(), 1);

    let (server, mut beginner) = warm(|timeouts, soon| timeouts.head = soon);
    beginner.send(b"GET /fi");
    beginner.is_ended();
    assert_eq!(server.stop().connections_timed_out.get(), 1);

    let (server, mut reader) = warm(|timeouts, soon| timeouts.send = soon);
    for _ in 0..10 {
        reader.send(request("GET", "/file", PLAIN).as_bytes());
    }
    assert!(server.comes_to(1, |stats| stats.connections_timed_out.get()));
    assert!(reader.rest().len() < 40 << 20);
}

#[test]
fn hot_connections_are_closed_when_the_server_stops() {
    let tree = Tree::of(&[("file", &bytes(7, 4 << 20))]);
    let settings = Settings::new(|_, timeouts| timeouts.drain = Duration::from_secs(3600));
    let mut server = Server::with(tree.serve(), settings);
    Client::get(&server, "/file", "");
    let mut idle = Client::new(&server);
    ask(&mut idle, "GET", "/file", PLAIN).has_status(200);
    let mut busy = Client::new(&server);
    busy.send(request("GET", "/file", PLAIN).as_bytes());
    busy.head().has_status(200);
    server.ask_to_stop();
    idle.is_ended();
    assert!(busy.take(4 << 20) == bytes(7, 4 << 20));
    busy.is_ended();
    assert_eq!(server.stop().connections_timed_out.get(), 0);
}

#[test]
fn nothing_hot_is_answered_after_a_close() {
    let tree = Tree::of(&[("file", b"content")]);
    let server = Server::new(tree.serve());
    for last in ["Connection: close\r\n", "Host: b\r\n"] {
        let mut client = Client::new(&server);
        ask(&mut client, "GET", "/file", PLAIN).has_status(200);
        ask(&mut client, "GET", "/file", last).has("connection", "close");
        client.offer(request("GET", "/file", PLAIN).as_bytes());
        client.is_ended();
    }
}

/// While a file is replaced, each response is whole, with the old or the new content; after the
/// cache time it is the new one.
#[test]
fn a_hot_file_that_is_replaced_is_noticed() {
    for length in [1000, 100_000] {
        let tree = Tree::of(&[("file", &bytes(0, length))]);
        let server = Server::new(tree.serve_for(Duration::from_millis(50)));
        let mut client = Client::new(&server);
        let mut tags = Vec::new();
        for version in 1..4 {
            let old = ask(&mut client, "GET", "/file", PLAIN).has_body(&bytes(version - 1, length));
            tags.push(old.etag().to_owned());
            let spare = tree.file("spare", &bytes(version, length));
            fs::rename(spare, tree.path("file")).unwrap();
            let replaced = Instant::now();
            loop {
                let reply = ask(&mut client, "GET", "/file", PLAIN).has_status(200);
                if reply.etag() != old.etag() {
                    reply.has_body(&bytes(version, length));
                    break;
                }
                reply.has_body(&bytes(version - 1, length));
                assert!(
                    replaced.elapsed() < Duration::from_secs(10),
                    "never noticed"
                );
            }
        }
        tags.dedup();
        assert_eq!(tags.len(), 3);
    }
}

/// A file that shrinks while it is sent ends the connection, because its length was promised.
#[test]
fn a_hot_file_that_shrinks_ends_its_connection() {
    let content = bytes(8, MOST_AT_ONCE);
    let tree = Tree::of(&[("file", &content)]);
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    for _ in 0..2 {
        ask(&mut client, "GET", "/file", PLAIN).has_body(&content);
    }
    // More than the connection's buffers hold.
    client.send(request("GET", "/file", PLAIN).repeat(8).as_bytes());
    client.head().has_status(200);
    let file = fs::File::options().write(true).open(tree.path("file"));
    file.unwrap().set_len(50_000).unwrap();
    let came = client.rest();
    assert!(came[..50_000] == content[..50_000]);
    assert!(came.len() < 8 * content.len(), "{} bytes", came.len());
    assert!(server.stop().truncated.get() > 0);
}
