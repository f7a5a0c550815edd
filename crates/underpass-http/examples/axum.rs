//! An axum application whose files leave by sendfile(2): `cargo run --example axum -- DIR ADDRESS`.
//!
//! Coming from axum and tower-http, two lines change:
//!
//! ```diff
//! -use tower_http::services::ServeDir;
//! +use underpass_http::ServeDir;
//!
//! -axum::serve(listener, app).await
//! +underpass_http::serve(listener, app).await
//! ```

use std::io;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use underpass_http::ServeDir;

#[tokio::main]
async fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().unwrap_or_else(|| ".".to_owned());
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    let files = ServeDir::open(directory)?;
    let app = Router::new()
        .route("/hello", get(|| async { "hello\n" }))
        .nest_service("/assets", files.clone())
        .fallback_service(files);
    let listener = TcpListener::bind(address).await?;
    println!("listening on http://{}", listener.local_addr()?);
    underpass_http::serve(listener, app)
        .with_graceful_shutdown(interrupted())
        .await
}

/// Waits for Ctrl-C. If that is not possible, Ctrl-C ends the program as usual.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
