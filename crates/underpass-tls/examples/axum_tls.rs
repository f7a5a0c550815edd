//! An axum application over TLS, with a directory of files.
//!
//! ```text
//! cargo run -p underpass-tls --features http --example axum_tls -- DIRECTORY
//! curl --insecure https://127.0.0.1:8443/files/…
//! ```

use axum::{Router, routing::get};
use underpass_http::ServeDir;
use underpass_tls::{Identity, ServerConfig, TlsListener};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let directory = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let app = Router::new()
        .route("/", get(|| async { "hello" }))
        .nest_service("/files", ServeDir::new(directory));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8443").await?;
    // The two lines that TLS adds. A real server has `Identity::from_pem_files`.
    let tls = ServerConfig::new([Identity::self_signed(["localhost", "127.0.0.1"])?])?;
    let listener = TlsListener::new(listener, tls);
    underpass_http::serve(listener, app).await
}
