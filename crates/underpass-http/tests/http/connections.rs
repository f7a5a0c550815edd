//! Several requests on one connection (RFC 9112 section 9).

use underpass_http::Uploads;

use crate::support::{Client, Reply, Server, Tree, bytes, curl, needs, python, request};

fn tree() -> Tree {
    Tree::of(&[
        ("small", &bytes(1, 300)),
        ("large", &bytes(2, 700_000)),
        ("other", &bytes(3, 100_000)),
        ("empty", b""),
    ])
}

/// Requests of every kind, each with its expected response.
fn mixture() -> Vec<(&'static str, &'static str, &'static str, u16, Vec<u8>)> {
    let (small, large, other) = (bytes(1, 300), bytes(2, 700_000), bytes(3, 100_000));
    vec![
        ("GET", "/small", "", 200, small.clone()),
        ("GET", "/large", "", 200, large.clone()),
        ("HEAD", "/large", "", 200, Vec::new()),
        ("GET", "/small", "If-None-Match: *\r\n", 304, Vec::new()),
        (
            "GET",
            "/other",
            "Range: bytes=5-99998\r\n",
            206,
            other[5..99_999].to_vec(),
        ),
        ("GET", "/empty", "", 200, Vec::new()),
        ("OPTIONS", "/", "", 204, Vec::new()),
        ("HEAD", "/small", "", 200, Vec::new()),
        (
            "GET",
            "/large",
            "Range: bytes=-1\r\n",
            206,
            large[699_999..].to_vec(),
        ),
        ("GET", "/other", "", 200, other),
        ("GET", "/small", "", 200, small),
    ]
}

#[test]
fn pipelined_requests_are_answered_whole_and_in_order() {
    let tree = tree();
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let mut stream = String::new();
    for _ in 0..3 {
        for (method, path, fields, ..) in mixture() {
            stream += &request(method, path, fields);
        }
        stream += &request("GET", "/missing", "");
        stream += &request("DELETE", "/small", "");
    }
    stream += &request("GET", "/small", "Connection: close\r\n");
    client.send(stream.as_bytes());
    for _ in 0..3 {
        for (method, path, _, status, body) in mixture() {
            let reply = client.reply(method);
            assert_eq!(reply.status, status, "{method} {path}");
            reply.has_body(&body);
        }
        client.reply("GET").expect_error(404);
        client.reply("DELETE").expect_error(405);
    }
    client
        .reply("GET")
        .has_status(200)
        .has("connection", "close");
    client.is_ended();
    let stats = server.stop();
    assert_eq!(stats.connections_accepted.get(), 1);
    let each_round = 700_000 + (99_999 - 5) + 1 + 100_000;
    assert_eq!(stats.bytes_sendfile.get(), 3 * each_round);
    assert_eq!(stats.bytes_received.get(), stream.len() as u64);
}

/// Requests after a close are not read.
#[test]
fn after_close_nothing_is_answered() {
    let tree = tree();
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let both = request("GET", "/large", "Connection: close\r\n") + &request("GET", "/small", "");
    client.send(both.as_bytes());
    client
        .reply("GET")
        .has("connection", "close")
        .has_body(&bytes(2, 700_000));
    client.is_ended();
}

#[test]
fn requests_cut_into_bytes_are_answered() {
    let tree = tree();
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let stream =
        request("GET", "/large", "") + "\r\n" + &request("HEAD", "/small", "Connection: close\r\n");
    for byte in stream.as_bytes() {
        client.send(&[*byte]);
    }
    client
        .reply("GET")
        .has_status(200)
        .has_body(&bytes(2, 700_000));
    client.reply("HEAD").has_status(200);
    client.is_ended();
}

/// A response that comes before the whole body has arrived is the last of its connection, and says
/// so.
#[test]
fn an_answer_before_the_body_says_that_it_is_the_last() {
    let tree = tree();
    let server = Server::new(tree.serve().uploads(Uploads::default().max_bytes(1000)));
    for (method, path, length, status) in [
        ("POST", "/small", 5000, 405),
        ("PUT", "/new", 5000, 413),
        ("PUT", "/missing/new", 500, 409),
        ("GET", "/small", 500, 200),
    ] {
        for (fields, come, closes) in [
            (format!("Content-Length: {length}\r\n"), 0, true),
            (format!("Content-Length: {length}\r\n"), length - 1, true),
            (
                format!("Content-Length: {length}\r\nExpect: 100-continue\r\n"),
                0,
                true,
            ),
            (format!("Content-Length: {length}\r\n"), length, false),
        ] {
            let mut client = Client::new(&server);
            client.send((request(method, path, &fields) + &"x".repeat(come)).as_bytes());
            let reply = client.reply(method).has_status(status);
            if closes {
                reply.has("connection", "close");
                client.is_ended();
            } else {
                reply.lacks("connection");
                client.send(request("GET", "/small", "").as_bytes());
                client.reply("GET").has_status(200);
            }
        }
    }
}

/// The bytes after a request without a body are not its body.
#[test]
fn an_answer_with_a_body_behind_it_keeps_the_connection() {
    let tree = tree();
    let server = Server::new(tree.serve().uploads(Uploads::default().max_bytes(1000)));
    let mut client = Client::new(&server);
    let put = request("PUT", "/new", "Content-Length: 5\r\n");
    client.send((request("GET", "/large", "") + &put + "hel").as_bytes());
    client.reply("GET").has_status(200).lacks("connection");
    client.send(b"lo");
    client.reply("PUT").has_status(201).lacks("connection");
}

/// A client that sends its whole body before it reads anything gets its response, however long that
/// takes.
#[test]
fn an_answer_is_not_reset_while_the_body_comes() {
    let tree = tree();
    let server = Server::new(tree.serve());
    let mut client = Client::new(&server);
    let length = 1 << 20;
    let post = request("POST", "/small", &format!("Content-Length: {length}\r\n"));
    client.send(post.as_bytes());
    // Longer than the server waits for a silent client. A connection that is never reset takes all
    // bytes that are sent.
    let begun = std::time::Instant::now();
    let mut left = length;
    while begun.elapsed() < std::time::Duration::from_secs(3) {
        client.send(b"x");
        left -= 1;
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    client.send(&vec![b'x'; left]);
    client.reply("POST").has_status(405);
    client.no_more();
    client.is_ended();
}

#[test]
fn http_1_0_ends_unless_asked_to_stay() {
    let tree = tree();
    let server = Server::new(tree.serve());
    for path in ["/small", "/large"] {
        let mut client = Client::new(&server);
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        is_the_file(path, client.reply("GET"));
        client.is_ended();

        let mut client = Client::new(&server);
        let stay = format!("GET {path} HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        for _ in 0..3 {
            client.send(stay.as_bytes());
            let reply = client.reply("GET").has("connection", "keep-alive");
            is_the_file(path, reply);
        }
        client.send(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
        is_the_file(path, client.reply("GET"));
        client.is_ended();
    }
}

#[track_caller]
fn is_the_file(path: &str, reply: Reply) {
    let content = match path {
        "/small" => bytes(1, 300),
        _ => bytes(2, 700_000),
    };
    let length = content.len().to_string();
    reply
        .has_status(200)
        .has("content-length", &length)
        .has_body(&content);
}

#[test]
fn python_keeps_its_connection() {
    let tree = tree();
    let server = Server::new(tree.serve());
    let requests = [
        ("GET", "/small", 200),
        ("GET", "/large", 200),
        ("HEAD", "/large", 200),
        ("GET", "/missing", 404),
        ("POST", "/small", 405),
        ("GET", "/empty", 200),
        ("OPTIONS", "/", 204),
        ("GET", "/other", 200),
        ("GET", "/large", 200),
    ];
    if python::on_one_connection(&server, &tree, &requests) {
        assert_eq!(server.stop().connections_accepted.get(), 1);
    }
}

#[test]
fn curl_keeps_its_connection() {
    if !needs::tool("curl") {
        return;
    }
    let tree = tree();
    let server = Server::new(tree.serve());
    let (small, other) = (server.url("/small"), server.url("/other"));
    let fetched = curl::run(&server, "/large", &[&small, &other]);
    assert_eq!(fetched.statuses(), [200, 200, 200]);
    let all = [bytes(1, 300), bytes(3, 100_000), bytes(2, 700_000)].concat();
    fetched.reply().has_body(&all);
    assert_eq!(server.stop().connections_accepted.get(), 1);
}

/// Several connections at once, on one thread: none gets the bytes of another.
#[test]
fn connections_do_not_mix() {
    let tree = tree();
    for seed in 0..8 {
        tree.file(&format!("many/{seed}"), &bytes(seed, 1_000_000));
    }
    let server = Server::new(tree.serve());
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let server = &server;
            scope.spawn(move || {
                let path = format!("/many/{seed}");
                for _ in 0..3 {
                    Client::get(server, &path, "").has_body(&bytes(seed, 1_000_000));
                }
            });
        }
    });
    assert_eq!(server.stop().bytes_sendfile.get(), 8 * 3 * 1_000_000);
}
