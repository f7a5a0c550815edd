//! What axum applications get from their server, the same under `axum::serve` and `serve`:
//! upgrades, `ConnectInfo`, and the end of a request when its client leaves.

use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::extract::connect_info::Connected;
use axum::extract::ws::{Message as Theirs, WebSocket, WebSocketUpgrade};
use axum::routing::get;
use axum::serve::IncomingStream;
use bytes::Bytes;
use futures_util::SinkExt as _;
use futures_util::stream::{self, StreamExt as _};
use http_body_util::BodyExt as _;
use tokio::net::UnixListener;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::Message;
use underpass_http::serve;

use crate::support::{Client, Files, MIB, Server, block_on, bytes};

/// Only a test that fails waits this long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Sends every message back until the client closes.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Theirs::Close(_)) || socket.send(message).await.is_err() {
            return;
        }
    }
}

fn echoing() -> Router {
    let upgrade = async |upgrade: WebSocketUpgrade| {
        upgrade
            .max_message_size(usize::MAX)
            .max_frame_size(usize::MAX)
            .on_upgrade(echo)
    };
    Router::new()
        .route("/", get(upgrade))
        .route("/plain", get(async || "plain"))
}

async fn websocket(
    address: SocketAddr,
) -> tokio_tungstenite::WebSocketStream<tokio::net::TcpStream> {
    let socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let (socket, response) = client_async(format!("ws://{address}/"), socket)
        .await
        .unwrap();
    assert_eq!(response.status(), 101);
    socket
}

#[test]
fn websockets_are_websockets() {
    // Longer than a turn, and full of bytes that the framing check would refuse in a request.
    let long: Bytes = b"\nGET / HTTP/1.1\n\n".repeat(5 * MIB / 18).into();
    let messages = [
        b"\n\n"[..].into(),
        Bytes::new(),
        bytes(100_000).into(),
        long,
    ];
    for (name, server) in Server::both(&echoing()) {
        block_on(async {
            let mut socket = websocket(server.address).await;
            for message in messages.iter().cycle().take(3 * messages.len()) {
                let (mut sending, mut receiving) = socket.split();
                let (sent, got) = tokio::join!(
                    sending.send(Message::Binary(message.clone())),
                    receiving.next()
                );
                sent.unwrap();
                assert!(got.unwrap().unwrap().into_data() == message, "{name}");
                socket = sending.reunite(receiving).unwrap();
            }
            socket.close(None).await.unwrap();
        });
        assert_eq!(Client::connect(server.address).get("/plain").body, b"plain");
    }
}

/// An upgraded connection counts as open until it ends, and a graceful end does not wait for it.
#[test]
fn upgraded_connections_are_counted_and_not_waited_for() {
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let server = Server::configured(
        |_| echoing(),
        |serve| serve.with_graceful_shutdown(async move { _ = stopped.await }),
    );
    let stats = Arc::clone(&server.stats);
    block_on(async {
        let mut first = websocket(server.address).await;
        let mut second = websocket(server.address).await;
        for socket in [&mut first, &mut second] {
            socket.send(Message::text("hello")).await.unwrap();
            assert_eq!(
                socket.next().await.unwrap().unwrap(),
                Message::text("hello")
            );
        }
        assert_eq!(stats.connections_open.get(), 2);
        first.close(None).await.unwrap();
        while first.next().await.is_some() {}
        while stats.connections_open.get() > 1 {
            tokio::task::yield_now().await;
        }
        stop.send(()).unwrap();
        while stats.connections_open.get() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(stats.connections_cut.get(), 0);
        // It belongs to the application.
        second.send(Message::text("still")).await.unwrap();
    });
}

/// If a request to upgrade is answered otherwise, HTTP goes on, and so does the framing check.
#[test]
fn a_declined_upgrade_leaves_http() {
    for (name, server) in Server::both(&echoing()) {
        let mut client = Client::connect(server.address);
        for _ in 0..3 {
            client.ask("GET", "/plain", "Connection: upgrade\r\nUpgrade: h2c\r\n");
            assert_eq!(client.answer().body, b"plain", "{name}");
        }
        if name == "serve" {
            client.send("GET /plain HTTP/1.1\nHost: a\n\n");
            assert_eq!(client.answer().status, 400);
        }
    }
}

#[test]
fn requests_know_who_connected() {
    let app = Router::new().route(
        "/",
        get(async |ConnectInfo(peer): ConnectInfo<SocketAddr>| peer.to_string()),
    );
    for (name, server) in Server::both(&app) {
        let socket = TcpStream::connect(server.address).unwrap();
        let ours = socket.local_addr().unwrap().to_string();
        let mut client = Client::on(socket);
        for _ in 0..2 {
            assert_eq!(client.get("/").body, ours.as_bytes(), "{name}");
        }
    }
}

/// Like axum's example `unix-domain-socket`.
#[derive(Clone)]
struct Peer(Option<i32>);

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Self(stream.io().peer_cred().unwrap().pid())
    }
}

/// The same application on Unix sockets, under each of the two servers.
fn on_unix_sockets(files: &Files, app: &Router) -> [(&'static str, Server, UnixStream); 2] {
    let on = |name: &'static str| {
        let path = files.path(name);
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        (listener, UnixStream::connect(path).unwrap())
    };
    let nowhere = SocketAddr::from(([0; 4], 0));
    let ((one, to_one), (other, to_other)) = (on("axum::serve"), on("serve"));
    let make = app.clone().into_make_service_with_connect_info::<Peer>();
    let theirs = Server::spawn(nowhere, |_, _| async {
        axum::serve(UnixListener::from_std(one).unwrap(), make)
            .await
            .unwrap();
    });
    let app = app.clone();
    let ours = Server::spawn(nowhere, |stats, _| async {
        let peer = |socket: &tokio::net::UnixStream| {
            socket.peer_cred().map(|peer| ConnectInfo(Peer(peer.pid())))
        };
        let serve = serve(UnixListener::from_std(other).unwrap(), app);
        serve.connect_info(peer).stats(stats).await.unwrap();
    });
    [("axum::serve", theirs, to_one), ("serve", ours, to_other)]
}

#[test]
fn requests_know_who_connected_over_unix_sockets() {
    let app = Router::new().route(
        "/",
        get(async |ConnectInfo(Peer(pid)): ConnectInfo<Peer>| format!("{pid:?}")),
    );
    let files = Files::new();
    let ours = format!("{:?}", Some(std::process::id()));
    for (name, _server, socket) in on_unix_sockets(&files, &app) {
        assert_eq!(Client::on(socket).get("/").body, ours.as_bytes(), "{name}");
    }
}

/// Reports when it is created and when it is dropped.
struct Guest(Sender<&'static str>);

impl Guest {
    fn enter(sender: &Sender<&'static str>) -> Self {
        sender.send("here").unwrap();
        Self(sender.clone())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _ = self.0.send("gone");
    }
}

/// `/handler` never answers, `/stream` sends one word and never another, `/upload` waits for a
/// body.
fn endless() -> (Router, Receiver<&'static str>) {
    let (sender, receiver) = channel();
    let (handler, streaming, upload) = (sender.clone(), sender.clone(), sender);
    let app = Router::new()
        .route(
            "/handler",
            get(async move || {
                let _guest = Guest::enter(&handler);
                std::future::pending::<()>().await;
            }),
        )
        .route(
            "/stream",
            get(async move || {
                let guest = Guest::enter(&streaming);
                let word = stream::once(async { Ok::<_, std::io::Error>("word") });
                let silence = stream::once(async move {
                    let _guest = guest;
                    std::future::pending().await
                });
                Body::from_stream(word.chain(silence))
            }),
        )
        .route(
            "/upload",
            get(async move |body: Body| {
                let _guest = Guest::enter(&upload);
                _ = body.collect().await;
            }),
        );
    (app, receiver)
}

const REQUESTS: [&str; 3] = [
    "GET /handler HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /stream HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nhalf",
];

#[test]
fn who_leaves_is_noticed() {
    let (app, received) = endless();
    for (name, server) in Server::both(&app) {
        for request in REQUESTS {
            let mut client = Client::connect(server.address);
            client.send(request);
            assert_eq!(received.recv_timeout(PATIENCE), Ok("here"), "{name}");
            drop(client);
            assert_eq!(
                received.recv_timeout(PATIENCE),
                Ok("gone"),
                "{name}: {request}"
            );
        }
    }
    let files = Files::new();
    for request in REQUESTS {
        for (name, _server, socket) in on_unix_sockets(&files, &app) {
            let mut client = Client::on(socket);
            client.send(request);
            assert_eq!(received.recv_timeout(PATIENCE), Ok("here"), "{name}");
            drop(client);
            assert_eq!(
                received.recv_timeout(PATIENCE),
                Ok("gone"),
                "{name}: {request}"
            );
        }
        for name in ["axum::serve", "serve"] {
            std::fs::remove_file(files.path(name)).unwrap();
        }
    }
}

/// `nc -N` ends its side after the request. By default such a client counts as gone. With
/// `half_close` it gets its response.
#[test]
fn who_only_ends_its_side_gets_the_answer_where_that_is_allowed() {
    let slow = || {
        Router::new().route(
            "/",
            get(async || {
                // Long enough for the server to notice the end.
                for _ in 0..100 {
                    tokio::task::yield_now().await;
                }
                "answer"
            }),
        )
    };
    for allowed in [true, false] {
        let server = Server::configured(move |_| slow(), move |serve| serve.half_close(allowed));
        let mut socket = TcpStream::connect(server.address).unwrap();
        std::io::Write::write_all(&mut socket, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        socket.shutdown(Shutdown::Write).unwrap();
        let got = Client::on(socket).rest();
        assert_eq!(got.ends_with(b"answer"), allowed, "{}", got.escape_ascii());
    }
}
