//! HTTP/2 under both servers, and WebSockets in it (RFC 8441).

use std::path::Path;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ws::{Message as Theirs, WebSocket, WebSocketUpgrade};
use axum::routing::{any, get, post};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};
use underpass_http::{ServeDir, Timeouts, serve};

use crate::support::{Client, Files, MIB, Server, block_on, bound, bytes, from_std};

pub(super) type Http2 = http2::SendRequest<Full<Bytes>>;

/// Sends every message back until the client closes.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Theirs::Close(_)) || socket.send(message).await.is_err() {
            return;
        }
    }
}

/// Says which version of HTTP it is asked by, counts, waits for ever, echoes, and has files.
pub(super) fn app(files: &Path) -> Router {
    let version = async |request: Request<Body>| format!("{:?}", request.version());
    let count = async |body: Bytes| body.len().to_string();
    let upgrade = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo);
    Router::new()
        .route("/version", get(version))
        .route("/count", post(count))
        .route("/never", get(async || std::future::pending::<()>().await))
        // In HTTP/2 the method of a WebSocket is CONNECT, which `get` would refuse.
        .route("/echo", any(upgrade))
        .fallback_service(ServeDir::new(files))
}

/// A connection of HTTP/2, which ends with its last handle.
pub(super) async fn http2<S>(socket: S) -> Http2
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let socket = TokioIo::new(socket);
    let (client, connection) = http2::handshake(TokioExecutor::new(), socket)
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

pub(super) fn request(method: Method, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("http://localhost{path}"));
    request.body(Full::new(body.into())).unwrap()
}

/// The content of a response with status 200.
pub(super) async fn ask(client: &mut Http2, request: Request<Full<Bytes>>) -> Bytes {
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.version(), Version::HTTP_2);
    response.into_body().collect().await.unwrap().to_bytes()
}

/// A WebSocket in a connection of HTTP/2 that has answered a request before, so that the server's
/// settings are known.
pub(super) async fn websocket_in(client: &mut Http2) -> WebSocketStream<TokioIo<Upgraded>> {
    let mut request = request(Method::CONNECT, "/echo", "");
    request
        .extensions_mut()
        .insert(Protocol::from_static("websocket"));
    let fields = request.headers_mut();
    fields.insert("sec-websocket-version", "13".parse().unwrap());
    let mut response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// Sends messages of several sizes, and gets them back.
pub(super) async fn echoes<S>(socket: &mut WebSocketStream<S>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    for len in [0, 1, 1000, 300_000] {
        let message = Message::binary(bytes(len));
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message, "{len}");
    }
}

#[test]
fn http2_without_tls_is_spoken_by_both() {
    let content = bytes(MIB);
    let files = Files::new().with("file", &content);
    for (name, server) in both!(app(files.root())) {
        block_on(async {
            let socket = TcpStream::connect(server.address).await.unwrap();
            let mut client = http2(socket).await;
            let version = ask(&mut client, request(Method::GET, "/version", "")).await;
            assert_eq!(version, "HTTP/2.0", "{name}");
            let posted = request(Method::POST, "/count", content.clone());
            assert_eq!(ask(&mut client, posted).await, MIB.to_string(), "{name}");
            let file = ask(&mut client, request(Method::GET, "/file", "")).await;
            assert!(file == content, "{name}");
        });
        // The other version on the same listener.
        let mut client = Client::connect(server.address);
        assert_eq!(client.get("/version").text(), "HTTP/1.1", "{name}");
        if name == "serve" {
            server.log.exchanges(4);
            assert_eq!(server.stats.http2_connections.get(), 1);
            let mapped = server.stats.bytes_mapped.get();
            assert!(mapped > MIB as u64 * 9 / 10, "{mapped}");
        }
    }
}

#[test]
fn websockets_are_streams_of_http2() {
    let files = Files::new().with("file", b"content");
    for (name, server) in both!(app(files.root())) {
        block_on(async {
            let socket = TcpStream::connect(server.address).await.unwrap();
            let mut client = http2(socket).await;
            ask(&mut client, request(Method::GET, "/version", "")).await;
            let mut first = websocket_in(&mut client).await;
            let mut second = websocket_in(&mut client).await;
            echoes(&mut first).await;
            echoes(&mut second).await;
            // Others go on beside them, and after them.
            let file = request(Method::GET, "/file", "");
            assert_eq!(ask(&mut client, file.clone()).await, "content", "{name}");
            first.close(None).await.unwrap();
            while first.next().await.is_some() {}
            echoes(&mut second).await;
            drop(second);
            assert_eq!(ask(&mut client, file).await, "content", "{name}");
        });
    }
}

/// Timeouts are for HTTP. A WebSocket that says nothing for long is none of their business.
#[test]
fn idle_websockets_outlive_the_timeouts() {
    let files = Files::new();
    let app = app(files.root());
    let short = Duration::from_secs(1);
    let timeouts = Timeouts::default()
        .body(short)
        .send(short)
        .keep_alive(short);
    let server = Server::configured(move |_| app, move |serve| serve.timeouts(timeouts));
    block_on(async {
        let connect = || async { TcpStream::connect(server.address).await.unwrap() };
        let socket = client_async("ws://localhost/echo", connect().await);
        let (mut first, _) = socket.await.unwrap();
        let mut client = http2(connect().await).await;
        // Until the WebSocket is there, this keeps the connection from being idle.
        let never = tokio::spawn(client.send_request(request(Method::GET, "/never", "")));
        ask(&mut client, request(Method::GET, "/version", "")).await;
        let mut second = websocket_in(&mut client).await;
        never.abort();
        echoes(&mut first).await;
        echoes(&mut second).await;
        // Meanwhile other connections are closed because they are idle.
        for _ in 0..2 {
            let mut idle = connect().await;
            let request = b"GET /version HTTP/1.1\r\nHost: a\r\n\r\n";
            idle.write_all(request).await.unwrap();
            let mut got = Vec::new();
            idle.read_to_end(&mut got).await.unwrap();
            assert!(got.ends_with(b"HTTP/1.1"), "{}", got.escape_ascii());
        }
        echoes(&mut first).await;
        echoes(&mut second).await;
    });
    assert_eq!(server.stats.streams_timed_out.get(), 0);
}
