//! One axum application over TLS: files, both versions of HTTP, and WebSockets in each.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::extract::ws::{Message as Theirs, WebSocket, WebSocketUpgrade};
use axum::routing::{any, get};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper::ext::Protocol;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{WebSocketStream, client_async};
use underpass_http::{ServeDir, ServerStats};
use underpass_tls::{Connector, TlsListener, TlsStream};

use crate::support::{bytes, client_config, is_kernel_required, server_config};

/// Sends every message back until the client closes.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Theirs::Close(_)) || socket.send(message).await.is_err() {
            return;
        }
    }
}

fn app(files: &Path, stats: &Arc<ServerStats>) -> Router {
    let version = async |version: Version| format!("{version:?}");
    let upgrade = async |upgrade: WebSocketUpgrade| upgrade.on_upgrade(echo);
    Router::new()
        .route("/version", get(version))
        .route("/echo", any(upgrade))
        .fallback_service(ServeDir::new(files).stats(Arc::clone(stats)))
}

type Client = http2::SendRequest<Empty<Bytes>>;

fn request(method: Method, path: &str) -> Request<Empty<Bytes>> {
    let request = Request::builder()
        .method(method)
        .uri(format!("https://localhost{path}"));
    request.body(Empty::new()).unwrap()
}

async fn get_in(client: &mut Client, path: &str) -> Bytes {
    let response = client.send_request(request(Method::GET, path)).await;
    let response = response.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    response.into_body().collect().await.unwrap().to_bytes()
}

async fn echoes<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) {
    for len in [0, 1000, 300_000] {
        let message = Message::binary(bytes(3, len));
        socket.send(message.clone()).await.unwrap();
        assert!(socket.next().await.unwrap().unwrap() == message, "{len}");
    }
}

async fn in_http2(socket: TlsStream, content: &[u8]) {
    let (mut client, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    assert_eq!(get_in(&mut client, "/version").await, "HTTP/2.0");
    assert!(get_in(&mut client, "/file").await == content);
    let mut upgrade = request(Method::CONNECT, "/echo");
    let protocol = Protocol::from_static("websocket");
    upgrade.extensions_mut().insert(protocol);
    let fields = upgrade.headers_mut();
    fields.insert("sec-websocket-version", "13".parse().unwrap());
    let mut response = client.send_request(upgrade).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let upgraded = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Client, None).await;
    echoes(&mut socket).await;
    assert!(get_in(&mut client, "/file").await == content);
    echoes(&mut socket).await;
}

#[test]
fn an_axum_application_has_tls_http2_and_websockets() {
    let content = bytes(5, 1_000_001);
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("file"), &content).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let stats = Arc::<ServerStats>::default();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let listener = TlsListener::new(listener, server_config());
        let serve = underpass_http::serve(listener, app(files.path(), &stats));
        tokio::spawn(serve.stats(Arc::clone(&stats)).into_future());
        let connect = |protocol: &'static str| async move {
            let socket = TcpStream::connect(address).await.unwrap();
            let connector = Connector::new(client_config().alpn([protocol]));
            let stream = connector.connect("localhost", socket).await.unwrap();
            assert_eq!(stream.info().alpn.as_deref(), Some(protocol.as_bytes()));
            stream
        };
        in_http2(connect("h2").await, &content).await;
        let socket = connect("http/1.1").await;
        let (mut socket, _) = client_async("ws://localhost/echo", socket).await.unwrap();
        echoes(&mut socket).await;
    });
    assert_eq!(stats.http2_connections.get(), 1);
    assert_eq!(stats.bytes_sendfile.get(), 0);
    if !is_kernel_required() {
        // From the mapping of the file straight into records.
        assert!(stats.bytes_encrypted.get() > 2_000_000);
        assert_eq!(stats.bytes_written.get(), 0);
    }
}
