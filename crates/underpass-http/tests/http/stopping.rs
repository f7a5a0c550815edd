//! Graceful shutdown: idle connections end at once. Exchanges in progress are finished, but not for
//! ever.

use std::net::TcpStream;
use std::time::Duration;

use underpass_http::Uploads;

use crate::support::{
    Client, MORE_THAN_BUFFERS, Server, Settings, Tree, bytes, eventually, request,
};

fn server(tree: &Tree, drain: Duration) -> Server {
    let settings = Settings::new(|_, timeouts| timeouts.drain = drain);
    Server::with(tree.serve().uploads(Uploads::default()), settings)
}

const LONG: Duration = Duration::from_secs(3600);

#[test]
fn idle_connections_are_closed_at_once() {
    let tree = Tree::of(&[("file", b"content")]);
    let mut server = server(&tree, LONG);
    let mut used = Client::new(&server);
    used.send(request("GET", "/file", "").as_bytes());
    used.reply("GET").has_status(200);
    let mut silent = Client::new(&server);
    eventually(|| server.stats.connections_open.get() >= 2);
    server.ask_to_stop();
    used.is_ended();
    silent.is_ended();
    let stats = server.stop();
    assert_eq!(
        (
            stats.connections_open.get(),
            stats.connections_timed_out.get()
        ),
        (0, 0)
    );
}

#[test]
fn a_download_is_finished() {
    let content = bytes(1, MORE_THAN_BUFFERS);
    let tree = Tree::of(&[("large", &content)]);
    let mut server = server(&tree, LONG);
    let mut client = Client::new(&server);
    client.send(request("GET", "/large", "").as_bytes());
    client.head().has_status(200);
    let mut idle = Client::new(&server);
    idle.send(request("GET", "/missing", "").as_bytes());
    idle.reply("GET");
    server.ask_to_stop();
    // When the server has noticed that, it has also stopped listening.
    idle.is_ended();
    assert!(
        TcpStream::connect(server.address).is_err(),
        "it still listens"
    );
    assert!(client.take(content.len()) == content);
    client.is_ended();
    let stats = server.stop();
    assert_eq!(stats.bytes_sendfile.get(), content.len() as u64);
}

#[test]
fn an_upload_is_finished() {
    let tree = Tree::of(&[("file", b"old")]);
    let mut server = server(&tree, LONG);
    let mut client = Client::new(&server);
    client.send(
        request(
            "PUT",
            "/file",
            "Content-Length: 10\r\nExpect: 100-continue\r\n",
        )
        .as_bytes(),
    );
    client.reply("PUT").has_status(100);
    client.send(b"first");
    server.ask_to_stop();
    eventually(|| TcpStream::connect(server.address).is_err());
    client.send(b", now");
    client
        .reply("PUT")
        .has_status(204)
        .has("connection", "close");
    client.is_ended();
    drop(server);
    assert_eq!(std::fs::read(tree.path("file")).unwrap(), b"first, now");
}

/// What does not end in time is cut off.
#[test]
fn the_deadline_ends_the_rest() {
    let content = bytes(2, MORE_THAN_BUFFERS);
    let tree = Tree::of(&[("large", &content)]);
    let server = server(&tree, Duration::from_millis(200));
    let mut reader = Client::new(&server);
    reader.send(request("GET", "/large", "").as_bytes());
    reader.head().has_status(200);
    let mut writer = Client::new(&server);
    writer.send((request("PUT", "/new", "Content-Length: 100\r\n") + "part").as_bytes());
    let mut beginner = Client::new(&server);
    beginner.send(b"GET /lar");
    eventually(|| server.stats.connections_open.get() >= 3);
    let stats = server.stop();
    assert_eq!(stats.connections_open.get(), 0);
    let came = reader.rest();
    assert!(came.len() < content.len() && content.starts_with(&came));
    writer.is_ended();
    beginner.is_ended();
    assert_eq!(tree.names(), ["large"]);
}

/// Several requests were pipelined before the shutdown. The one in progress is answered, and the
/// response says that it is the last.
#[test]
fn the_last_response_says_that_it_is() {
    let content = bytes(3, MORE_THAN_BUFFERS);
    let tree = Tree::of(&[("large", &content), ("file", b"content")]);
    let mut server = server(&tree, LONG);
    let mut client = Client::new(&server);
    client.send((request("GET", "/large", "") + &request("GET", "/file", "")).as_bytes());
    client.head().has_status(200);
    server.ask_to_stop();
    eventually(|| TcpStream::connect(server.address).is_err());
    assert!(client.take(content.len()) == content);
    // Either it was not begun, or it is answered completely.
    if let Some(reply) = client.next("GET") {
        reply
            .has_status(200)
            .has("connection", "close")
            .has_body(b"content");
    }
    client.is_ended();
    assert!(!server.has_stopped() || server.stats.connections_open.get() == 0);
}
