//! One axum application over TLS: HTTP/1.1, HTTP/2, a directory of files, and WebSockets.
//!
//! ```text
//! cargo run -p underpass-tls --features http --example axum_tls -- DIRECTORY
//! curl --insecure https://127.0.0.1:8443/files/…
//! ```
//!
//! What is sent to the WebSocket at `wss://127.0.0.1:8443/echo` comes back.

use axum::Router;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::routing::{any, get};
use underpass_http::ServeDir;
use underpass_tls::{Identity, ServerConfig, TlsListener};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    // `any`, because the method of a WebSocket is GET in HTTP/1.1, and CONNECT in HTTP/2.
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/echo", any(upgrade))
        .nest_service("/files", ServeDir::new(directory));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8443").await?;
    // The two lines that TLS adds. A real server has `Identity::from_pem_files`.
    let tls = ServerConfig::new([Identity::self_signed(["localhost", "127.0.0.1"])?])?;
    let listener = TlsListener::new(listener, tls);
    underpass_http::serve(listener, app).await
}

async fn upgrade(upgrade: WebSocketUpgrade) -> axum::response::Response {
    upgrade.on_upgrade(echo)
}

/// Sends every message back. When the client closes, `recv` answers that and returns `None`.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        if !matches!(message, Message::Close(_)) && socket.send(message).await.is_err() {
            return;
        }
    }
}
